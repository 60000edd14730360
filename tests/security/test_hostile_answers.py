"""Answers of other systems that are made to hurt; more is in unit/test_http_client.py."""

import asyncio
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest
import trustme

from hookline.http_client import GuardedClient, OutgoingRequest, Unanswered

LOOPBACK: Final = [ip_network("127.0.0.0/8")]
ROOT: Final = Path(__file__).parent.parent.parent
# What is on its way in the sockets of both ends, and a lot less than a gigabyte.
MOST_SENT: Final = 16 * 1024 * 1024


class Pouring:
    """A server that answers with a beginning, and then with one piece again and again."""

    def __init__(self, begin: bytes, piece: bytes, pause_s: float = 0.0) -> None:
        self._begin, self._piece, self._pause_s = begin, piece, pause_s
        self.sent = 0
        self._ended = asyncio.Event()

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer, until the other side has gone."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._begin)
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(self._piece)
                await writer.drain()
                self.sent += len(self._piece)
                await asyncio.sleep(self._pause_s)
        writer.close()
        self._ended.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve one request while the block runs; gives the URL."""
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            await self._ended.wait()


OK: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS: Final = {
    "a status line": (b"HTTP/1.1 200 ", b"O" * 65_536),
    "a header's value": (OK + b"x: ", b"y" * 65_536),
    "a header's name": (OK, b"x" * 65_536),
    "headers": (OK, b"x: y\r\n" * 10_000),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 10_000),
}


@pytest.mark.security("S30")
@pytest.mark.parametrize("kind", ENDLESS)
async def test_what_has_no_end_before_the_body_is_unanswered(kind: str) -> None:
    """A header of a gigabyte is not read to its end: the connection is closed."""
    pouring = Pouring(*ENDLESS[kind])
    async with pouring.serving() as url, GuardedClient(LOOPBACK) as client:
        with pytest.raises(Unanswered):
            await client.send(OutgoingRequest("GET", url, timeout_s=20.0))

    assert pouring.sent < MOST_SENT


@pytest.mark.security("S30")
@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"HTTP/1.1 200 ", b"O"),
        (OK, b"x"),
        (OK + b"Content-Length: 9\r\n\r\n", b""),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED, b"0"),
        (CHUNKED + b"5;", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=[
        "status line",
        "headers",
        "nothing",
        "body",
        "chunks",
        "chunk size",
        "extension",
        "100s",
    ],
)
async def test_an_answer_that_drips_is_unanswered_in_its_time(
    begin: bytes, piece: bytes
) -> None:
    """Each byte comes soon after the one before it; the time is that of the whole."""
    pouring = Pouring(begin, piece, 0.005)
    async with pouring.serving() as url, GuardedClient(LOOPBACK) as client:
        with pytest.raises(Unanswered, match=r"longer than 0\.2 s"):
            await client.send(OutgoingRequest("GET", url, timeout_s=0.2))


# A process of its own, as OpenSSL reads once whom it trusts: SSL_CERT_FILE.
ASK: Final = """
import asyncio, sys
from ipaddress import ip_network
from hookline.errors import StepError
from hookline.http_client import GuardedClient, OutgoingRequest

async def ask(url):
    async with GuardedClient([ip_network("127.0.0.0/8")]) as client:
        try:
            answer = await client.send(OutgoingRequest("POST", url, body=b"secret"))
            print(answer.status)
        except StepError as error:
            print(type(error).__name__, error)

asyncio.run(ask(sys.argv[1]))
"""
HERE: Final = "127.0.0.1"
NOW: Final = datetime.now(UTC)
TRUSTED: Final = trustme.CA()
CERTIFICATES: Final = {
    "another host": TRUSTED.issue_cert("hooks.example"),
    "another address": TRUSTED.issue_cert("127.0.0.2"),
    "expired": TRUSTED.issue_cert(HERE, not_after=NOW - timedelta(days=1)),
    "not yet valid": TRUSTED.issue_cert(HERE, not_before=NOW + timedelta(days=1)),
    "another authority": trustme.CA().issue_cert(HERE),
    "an authority in between": TRUSTED.create_child_ca().issue_cert("hooks.example"),
}


async def asked(certificate: trustme.LeafCert, directory: Path) -> tuple[str, bytes]:
    """What the client says of a server with a certificate, and what that one got."""
    got = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"secret"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(tls)
    authority = directory / "authority.pem"
    TRUSTED.cert_pem.write_to_path(str(authority))
    async with await asyncio.start_server(take, HERE, 0, ssl=tls) as server:
        url = f"https://{HERE}:{server.sockets[0].getsockname()[1]}/"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ASK, url),
            env={"SSL_CERT_FILE": str(authority), "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    return out.decode().strip(), bytes(got)


@pytest.mark.security("S30")
async def test_a_certificate_of_a_trusted_authority_is_taken(tmp_path: Path) -> None:
    """So that the refusals below are refusals of what is wrong with those."""
    said, got = await asked(TRUSTED.issue_cert(HERE), tmp_path)

    assert said == "204"
    assert got.endswith(b"secret")


@pytest.mark.security("S30")
@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_a_certificate_that_does_not_hold_is_refused(
    kind: str, tmp_path: Path
) -> None:
    """Nothing of the request goes out."""
    said, got = await asked(CERTIFICATES[kind], tmp_path)

    assert re.match(r"NotSent .*certificate is not valid", said), said
    assert got == b""


@pytest.mark.security("S30")
def test_nothing_turns_verification_off() -> None:
    """No source of the product has a word for it."""
    words = re.compile(
        r"CERT_NONE|check_hostname|_create_unverified|verify_ssl|\b(ssl|verify)=False"
    )
    sources = [*ROOT.glob("hookline/**/*.py"), *ROOT.glob("services/**/*.py")]
    found = [file.name for file in sources if words.search(file.read_text())]

    assert found == []
