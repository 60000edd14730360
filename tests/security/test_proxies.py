"""Behind the proxies that `deploy/` has: nothing gets past them as another request."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from tests.caller import Answer, Pairs, read_answer, request_bytes
from tests.instance import JSON, Instance, running
from tests.proxies import Place, haproxy, nginx, provide, running_proxy

pytestmark = [pytest.mark.proxies, pytest.mark.slow]

FLOW = """
id: {id}
trigger: {{webhook: {{max_body: 2MB, auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
FLOWS = [FLOW.format(id=one) for one in ("open", "smuggled", "victim")]
CALLER = "127.0.0.9"
TRUSTING = {"HOOKLINE_INGRESS__TRUSTED_PROXIES": "127.0.0.1/32"}
SMUGGLED = request_bytes("POST", "/hook/smuggled", [JSON], b"2")
INSIDE = b"0\r\n\r\n" + SMUGGLED


@dataclass(frozen=True, slots=True)
class Proxied:
    """A Hookline, and the port of the proxy before it."""

    instance: Instance
    port: int

    async def connect(
        self, protocol: str = "http/1.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Over TLS, as callers come."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        return await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, local_addr=(CALLER, 0)
        )

    async def send(self, flow_id: str, body: bytes, headers: Pairs = (JSON,)) -> Answer:
        """Send a good request."""
        reader, writer = await self.connect()
        writer.write(request_bytes("POST", f"/hook/{flow_id}", headers, body))
        answer = await read_answer(reader)
        writer.close()
        return answer

    async def assert_nothing_smuggled(self) -> None:
        """The next caller gets its own answer, and no event is of what was inside."""
        for _ in range(3):
            answer = await self.send("victim", b"3")
            assert answer.status == 200
            assert await self.instance.result(answer) == 3
        assert "smuggled" not in {event.flow_id for event in self.instance.ends.order}


@pytest.fixture(params=[nginx, haproxy], ids=["nginx", "haproxy"])
async def proxied(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Proxied]:
    await asyncio.to_thread(provide)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    async with running(tmp_path, *FLOWS, environment=TRUSTING) as instance:
        place = Place(tmp_path, port, instance.hosted.http)
        async with running_proxy(request.param, place):
            yield Proxied(instance, port)


def http(*lines: bytes, body: bytes) -> bytes:
    head = [
        *(b"POST /hook/open HTTP/1.1", b"Host: x", b"Content-Type: application/json"),
        *lines,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: %d" % len(INSIDE)
SHORT = b"Content-Length: 4"
ATTACKS = {
    "CL.TE": http(LENGTH, CHUNKED, body=INSIDE),
    "TE.CL": http(SHORT, CHUNKED, body=chunked(SMUGGLED)),
    "TE.CL the other way round": http(CHUNKED, SHORT, body=chunked(SMUGGLED)),
    "TE.TE": http(CHUNKED, b"Transfer-Encoding: x", LENGTH, body=INSIDE),
    "TE.TE in one line": http(CHUNKED + b", identity", LENGTH, body=INSIDE),
    "TE with a space": http(b"Transfer-Encoding : chunked", LENGTH, body=INSIDE),
    "TE with a tab": http(b"Transfer-Encoding:\x0bchunked", LENGTH, body=INSIDE),
    "TE in a fold": http(b"X-A: b\r\n " + CHUNKED, LENGTH, body=INSIDE),
    "TE after a line feed": http(b"X-A: b\n" + CHUNKED, LENGTH, body=INSIDE),
    "TE after a carriage return": http(b"X-A: b\r" + CHUNKED, LENGTH, body=INSIDE),
    "TE with an underscore": http(b"Transfer_Encoding: chunked", LENGTH, body=INSIDE),
    "CL with an underscore": http(b"Content_Length: 5", LENGTH, body=INSIDE),
    "TE xchunked": http(b"Transfer-Encoding: xchunked", LENGTH, body=INSIDE),
    "TE quoted": http(b'Transfer-Encoding: "chunked"', LENGTH, body=INSIDE),
    "two lengths": http(b"Content-Length: 5", LENGTH, body=INSIDE),
    "a length with a sign": http(LENGTH.replace(b": ", b": +"), body=INSIDE),
    "TE in HTTP/1.0": http(CHUNKED, LENGTH, body=INSIDE).replace(b"/1.1", b"/1.0", 1),
    "an extension with a line feed": http(
        CHUNKED, body=b"1;\n" + b"x\r\n1\r\n" + INSIDE.replace(b"0", b"1", 1)
    ),
}


@pytest.mark.security("S01-S12")
async def test_requests_in_two_readings_do_not_pass_as_two(proxied: Proxied) -> None:
    """S01 to S12 by HTTP/1.1: refused, or one request whose body is all of it."""
    for name, attack in ATTACKS.items():
        reader, writer = await proxied.connect()
        writer.write(attack)
        try:
            async with asyncio.timeout(15):
                answer = await read_answer(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            answer = None  # closed without a word
        writer.close()

        assert answer is None or answer.status in {200, 400, 501}, name
        await proxied.assert_nothing_smuggled()


PATH = b"/hook/open HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: "
BY_H2: dict[str, Sequence[tuple[bytes, bytes]]] = {
    "a length that is too short": [(b"content-length", b"4")],
    "no length": [(b"content-length", b"0")],
    "chunks": [(b"transfer-encoding", b"chunked")],
    "chunks and a length": [
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"%d" % len(INSIDE)),
    ],
    "a line in a value": [(b"x-a", b"b\r\nTransfer-Encoding: chunked")],
    "a line feed in a value": [(b"x-a", b"b\nTransfer-Encoding: chunked")],
    "a request in a value": [(b"x-a", b"b\r\n\r\n" + SMUGGLED)],
    "a line in a name": [(b"x-a: b\r\ntransfer-encoding", b"chunked")],
    "a colon in a name": [(b"transfer-encoding: chunked", b"x")],
    "a space in a name": [(b"transfer-encoding ", b"chunked")],
    "a capital in a name": [(b"Transfer-Encoding", b"chunked")],
    "another host": [(b"host", b"a\r\n\r\n" + SMUGGLED)],
    "a line in the path": [(b":path", PATH)],
    "a request in the method": [
        (b":method", b"POST /hook/smuggled HTTP/1.1\r\nHost: x\r\n\r\nPOST")
    ],
}


@pytest.mark.security("S01-S12")
async def test_what_http2_carries_does_not_pass_as_another_request(
    proxied: Proxied,
) -> None:
    """S01 to S12 by HTTP/2, where lengths and line ends mean nothing."""
    for name, headers in BY_H2.items():
        status = await by_h2(proxied, headers, INSIDE)

        assert status in {None, 200, 400}, name
        await proxied.assert_nothing_smuggled()


async def test_a_good_request_passes_by_http2(proxied: Proxied) -> None:
    """Or the refusals before would say nothing."""
    assert await by_h2(proxied, [], b"1") == 200
    assert len(proxied.instance.ends.order) == 1


async def by_h2(
    proxied: Proxied, more: Sequence[tuple[bytes, bytes]], body: bytes
) -> int | None:
    """The status, or None where stream or connection were ended without one."""
    headers = {
        b":method": b"POST",
        b":scheme": b"https",
        b":authority": b"x",
        b":path": b"/hook/open",
        b"content-type": b"application/json",
    }
    headers |= dict(more)
    config = h2.config.H2Configuration(
        header_encoding=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = h2.connection.H2Connection(config)
    reader, writer = await proxied.connect("h2")
    connection.initiate_connection()
    connection.send_headers(1, list(headers.items()))
    connection.send_data(1, body, end_stream=True)
    writer.write(connection.data_to_send())
    try:
        async with asyncio.timeout(15):
            return await _status(connection, reader)
    except (ConnectionError, h2.exceptions.ProtocolError):
        return None
    finally:
        writer.close()


async def _status(
    connection: h2.connection.H2Connection, reader: asyncio.StreamReader
) -> int | None:
    while received := await reader.read(65_536):
        for event in connection.receive_data(received):
            match event:
                case h2.events.ResponseReceived():
                    return int(dict(event.headers)[b":status"])
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    return None
                case _:
                    pass
    return None


@pytest.mark.security("S26")
async def test_the_sender_is_known_behind_a_proxy(proxied: Proxied) -> None:
    """S26: its own X-Forwarded-For stands left of what the proxy has seen."""
    instance = proxied.instance
    spoofed = [JSON, ("X-Forwarded-For", "8.8.8.8"), ("Forwarded", "for=8.8.8.8")]

    event = await instance.event(await proxied.send("open", b"1", spoofed))

    pairs = [(one.name.lower(), one.value) for one in event.request.headers]
    forwarded = [value for name, value in pairs if name == b"x-forwarded-for"]
    assert b",".join(forwarded).replace(b" ", b"") == b"8.8.8.8,127.0.0.9"
    assert event.request.remote == CALLER


async def test_bodies_go_through_a_proxy_as_they_come(proxied: Proxied) -> None:
    """Whole, in either framing; a declared size over the limit is refused at once."""
    body = b'"' + b"x" * 1_500_000 + b'"'
    reader, writer = await proxied.connect()

    writer.write(http(b"Content-Length: %d" % len(body), body=body))
    sized = await read_answer(reader)
    writer.write(http(CHUNKED, body=chunked(body)))
    in_chunks = await read_answer(reader)
    writer.write(http(b"Content-Length: 10000000000", body=b"{"))
    refused = await read_answer(reader)

    writer.close()
    assert (sized.status, in_chunks.status, refused.status) == (200, 200, 413)
    assert refused.json["type"] == "urn:hookline:problem:too-large"
    for answer in (sized, in_chunks):
        stored = (await proxied.instance.event(answer)).request.stored_body
        assert stored.sha256 == sha256(body).digest()
