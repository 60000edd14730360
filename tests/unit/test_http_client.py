"""The one way out: what it refuses, bounds, and says of failures."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from hookline.errors import BadConfiguration, TerminalError
from hookline.http_client import (
    BODY_LIMIT_BYTES,
    GuardedClient,
    NotSent,
    OutgoingRequest,
    Unanswered,
    origin,
)
from tests.standins import Answer, HangUp, Silence, StandIn

LOOPBACK = [ip_network("127.0.0.0/8")]
Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Names(AbstractResolver):
    """A resolver that answers from a list of answers, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
    ) -> list[ResolveResult]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in answer
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(LOOPBACK) as guarded:
        yield guarded


@asynccontextmanager
async def raw_server(connected: Connected) -> AsyncIterator[str]:
    """A server that speaks bytes."""
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def get(url: str, timeout_s: float = 5.0, **headers: str) -> OutgoingRequest:
    return OutgoingRequest("GET", url, headers, timeout_s=timeout_s)


REFUSED = {
    "loopback": "127.0.0.1",
    "the rest of loopback": "127.8.8.8",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10": "10.0.0.1",
    "private 172.16": "172.16.0.1",
    "private 192.168": "192.168.0.1",
    "link-local": "169.254.1.1",
    "metadata": "169.254.169.254",
    "metadata of Azure": "168.63.129.16",
    "metadata of Alibaba": "100.100.100.200",
    "carrier-grade NAT": "100.64.0.1",
    "IETF assignments": "192.0.0.1",
    "6to4 relay": "192.88.99.1",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 unspecified": "[::]",
    "IPv6 loopback": "[::1]",
    "mapped metadata": "[::ffff:169.254.169.254]",
    "compatible loopback": "[::7f00:1]",
    "NAT64 private": "[64:ff9b::a00:1]",
    "NAT64 local": "[64:ff9b:1::1]",
    "6to4 private": "[2002:a00:1::]",
    "Teredo with a private client": "[2001:0:808:808::f5ff:fffe]",
    "IPv6 link-local": "[fe80::1]",
    "IPv6 site-local": "[fec0::1]",
    "IPv6 unique local": "[fd00:ec2::254]",
    "IPv6 multicast": "[ff02::1]",
    "segment routing": "[5f00::1]",
    "documentation": "[2001:db8::1]",
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_addresses_that_are_not_public_are_refused(kind: str) -> None:
    async with GuardedClient() as client:
        with pytest.raises(TerminalError, match="HOOKLINE_EGRESS__ALLOW"):
            await client.send(get(f"http://{REFUSED[kind]}/"))


@pytest.mark.parametrize("host", ["127.1", "0", "2130706433", "017700000001"])
async def test_legacy_forms_of_addresses_are_refused(host: str) -> None:
    async with GuardedClient() as client:
        with pytest.raises(TerminalError, match="no host that can be asked"):
            await client.send(get(f"http://{host}/"))


@pytest.mark.parametrize("host", ["localhost", "0x7f.1"])
async def test_names_of_loopback_are_refused(host: str) -> None:
    """By the machine's own resolver."""
    async with GuardedClient() as client:
        with pytest.raises(TerminalError, match="HOOKLINE_EGRESS__ALLOW"):
            await client.send(get(f"http://{host}/"))


@pytest.mark.parametrize(
    "addresses",
    [
        ["169.254.169.254"],
        ["93.184.216.34", "10.0.0.1"],
        ["10.0.0.1", "93.184.216.34"],
        ["2606:4700::1111", "::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%eth0"],
    ],
)
async def test_a_name_is_refused_for_any_of_its_addresses(
    addresses: list[str],
) -> None:
    async with GuardedClient(resolver=Names(addresses)) as client:
        with pytest.raises(
            TerminalError, match=r"http://metadata\.google\.internal is"
        ):
            await client.send(get("http://metadata.google.internal/"))


async def test_a_name_that_changes_is_checked_at_each_request(
    standin: StandIn,
) -> None:
    """What a name stood for before says nothing about now."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    url = f"http://changing.example:{standin.port}/"
    async with GuardedClient(LOOPBACK, names) as client:
        first = await client.send(get(url))
        with pytest.raises(TerminalError, match=r"10\.0\.0\.1"):
            await client.send(get(url))

    assert first.status == 200


@pytest.mark.parametrize("port", [22, 25, 6379, 9092])
async def test_ports_of_other_services_are_refused(port: int) -> None:
    async with GuardedClient() as client:
        with pytest.raises(TerminalError, match=f"port {port} is not one for the web"):
            await client.send(get(f"http://93.184.216.34:{port}/"))


@pytest.mark.parametrize(
    "url",
    [
        "http://user@93.184.216.34/",
        "http://user:canary@93.184.216.34/",
        "http://a.example\\@93.184.216.34/",
        "http://a\x00b.example/",
        "http://a.example/canary\r\nx: y",
        "http://a b.example/canary",
        "http://[fe80::1%25eth0]/",
        "http://ex%61mple.com/canary",
        "http://a.example:99999/canary",
        "http:///canary",
        "unix:/run/docker.sock",
        "file:///etc/passwd",
        "gopher://a.example/_canary",
        "//a.example/canary",
        "",
    ],
)
async def test_what_is_no_web_url_is_refused_without_repeating_it(
    client: GuardedClient, url: str
) -> None:
    with pytest.raises(TerminalError, match="URL cannot be used") as caught:
        await client.send(get(url))

    assert "canary" not in str(caught.value)


async def test_encoded_digits_are_the_address_that_they_spell() -> None:
    async with GuardedClient() as client:
        with pytest.raises(TerminalError, match=r"127\.0\.0\.0/8"):
            await client.send(get("http://①②⑦.0.0.1/"))


async def test_the_environments_proxies_are_not_used(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", standin.url)
    async with GuardedClient(LOOPBACK) as client:
        with pytest.raises(TerminalError, match=r"10\.0\.0\.1"):
            await client.send(get("http://10.0.0.1/"))

    assert standin.requests == []


def test_an_exception_that_would_let_everything_through_is_refused() -> None:
    """NAT64's whole prefix holds every private address."""
    with pytest.raises(BadConfiguration, match="HOOKLINE_EGRESS__ALLOW"):
        GuardedClient([ip_network("64:ff9b::/96")])


async def test_a_request_arrives_as_it_was_written(
    client: GuardedClient, standin: StandIn
) -> None:
    request = OutgoingRequest(
        "PUT", f"{standin.url}/a%2Fb/../c?q=%7E+%20", {"x-one": "1"}, b"\x00\xff"
    )
    answer = await client.send(request)

    assert answer.status == 200
    [got] = standin.requests
    assert (got.method, got.path, got.query) == ("PUT", "/a%2Fb/../c", "q=%7E+%20")
    assert got.body == b"\x00\xff"
    assert got.headers["x-one"] == "1"
    assert got.headers["user-agent"].startswith("Hookline/")
    assert "content-type" not in got.headers


async def test_a_redirect_is_an_answer(client: GuardedClient, standin: StandIn) -> None:
    location = {"Location": f"{standin.url}/internal"}
    standin.fail(Answer(302, headers=location))
    answer = await client.send(get(standin.url))

    assert answer.status == 302
    assert len(standin.requests) == 1


async def test_cookies_are_not_kept(standin: StandIn) -> None:
    url = f"http://localhost:{standin.port}/"
    standin.fail(Answer(200, headers={"Set-Cookie": "a=1"}))
    async with GuardedClient(LOOPBACK, Names(["127.0.0.1"])) as named:
        await named.send(get(url))
        await named.send(get(url))

    assert "cookie" not in standin.requests[1].headers


@pytest.mark.security("S30")
async def test_a_long_answer_is_cut_and_marked(
    client: GuardedClient, standin: StandIn
) -> None:
    standin.fail(Answer(200, b"x" * BODY_LIMIT_BYTES))
    standin.fail(Answer(200, b"x" * (BODY_LIMIT_BYTES + 1)))
    whole = await client.send(get(standin.url))
    cut = await client.send(get(standin.url))

    assert (len(whole.body), whole.truncated) == (BODY_LIMIT_BYTES, False)
    assert (len(cut.body), cut.truncated) == (BODY_LIMIT_BYTES, True)


@pytest.mark.security("S30")
async def test_an_endless_answer_is_cut(client: GuardedClient) -> None:
    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with raw_server(pour) as url:
        answer = await client.send(get(url))

    assert answer.truncated


@pytest.mark.security("S30")
async def test_a_bomb_is_unpacked_no_further_than_the_bound(
    client: GuardedClient, standin: StandIn
) -> None:
    bomb = gzip.compress(b"\0" * (16 * BODY_LIMIT_BYTES))
    standin.fail(Answer(200, bomb, {"Content-Encoding": "gzip"}))
    answer = await client.send(get(standin.url))

    assert (len(answer.body), answer.truncated) == (BODY_LIMIT_BYTES, True)


async def answer_with(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(head)
    writer.close()


@pytest.mark.security("S30")
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"220 mail.example ESMTP\r\n",
        b"",
    ],
)
async def test_an_answer_that_cannot_be_read_is_unanswered(
    client: GuardedClient, head: bytes
) -> None:
    async with raw_server(lambda r, w: answer_with(head, r, w)) as url:
        with pytest.raises(Unanswered, match=f"{url} was sent"):
            await client.send(get(f"{url}/canary"))


async def test_a_hang_up_is_unanswered_and_sent_once(
    client: GuardedClient, standin: StandIn
) -> None:
    """Also with GET, which HTTP clients like to send again by themselves."""
    standin.fail(HangUp(after=True))
    with pytest.raises(Unanswered, match="hung up") as caught:
        await client.send(get(f"{standin.url}/canary?canary"))

    assert len(standin.requests) == 1
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.security("S30")
async def test_silence_is_unanswered_within_the_time(
    client: GuardedClient, standin: StandIn
) -> None:
    standin.fail(Silence())
    with pytest.raises(Unanswered, match=r"longer than 0\.1 s"):
        await client.send(get(standin.url, timeout_s=0.1))


async def test_a_refused_connection_was_not_sent(client: GuardedClient) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(NotSent, match=f"http://127.0.0.1:{port} cannot be reached"):
            await client.send(get(f"http://127.0.0.1:{port}/"))


async def test_a_connection_that_does_not_come_about_was_not_sent(
    client: GuardedClient,
) -> None:
    """TLS with one who does not speak: nothing of the request has gone out."""

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with raw_server(stay) as url:
        https = url.replace("http", "https")
        with pytest.raises(NotSent, match=r"longer than 0\.1 s"):
            await client.send(get(https, timeout_s=0.1))


@pytest.mark.security("S30")
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    client: GuardedClient,
) -> None:
    """Nothing of the request has gone out."""
    got = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read())
        writer.close()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(Path(__file__).parent / "tls" / "self_signed.pem")
    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(NotSent, match=r"certificate is not valid .*self-signed"):
            await client.send(get(url))

    assert got == b""


async def test_a_name_without_an_address_was_not_sent() -> None:
    class Nothing(Names):
        async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
            raise OSError("no such name")

    async with GuardedClient(resolver=Nothing()) as client:
        with pytest.raises(NotSent, match="its name has no address"):
            await client.send(get("http://nowhere.example/"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x\r\ny", "1"),
        ("x y", "1"),
        ("", "1"),
        ("x", "canary\r\ny: 2"),
        ("x", "\x00canary"),
        ("Transfer-Encoding", "chunked"),
        ("content-length", "5"),
    ],
)
async def test_headers_that_break_the_framing_are_refused(
    client: GuardedClient, standin: StandIn, name: str, value: str
) -> None:
    request = OutgoingRequest("POST", standin.url, {name: value}, b"x")
    with pytest.raises(TerminalError) as caught:
        await client.send(request)

    assert "canary" not in str(caught.value)
    assert standin.requests == []


async def test_repeated_headers_of_an_answer_are_joined(client: GuardedClient) -> None:
    head = b"HTTP/1.1 204 No\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    async with raw_server(lambda r, w: answer_with(head, r, w)) as url:
        answer = await client.send(get(url))

    assert answer.headers == {"x-a": "1, 2"}


def test_an_origin_is_scheme_host_and_port() -> None:
    url = "https://hooks.example:8443/services/canary?canary#canary"

    assert origin(url) == "https://hooks.example:8443"
    assert origin("https://hooks.example?canary") == "https://hooks.example"
