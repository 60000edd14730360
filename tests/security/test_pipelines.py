"""Many requests in one packet: one after the other, however many and whatever follows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from hookline.metrics import EdgeMetrics
from services.ingress.connection import Connection
from services.ingress.pieces import is_one_request
from services.ingress.places import Places
from services.ingress.port import Server
from services.ingress.senders import Senders
from services.ingress.surroundings import Surroundings
from tests.caller import read_answer, request_bytes
from tests.instance import JSON, Instance, running
from tests.waiting import until

OPEN = """
id: open
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
GOOD = request_bytes("POST", "/hook/open", [JSON], b"1")
CHUNKED = (
    request_bytes("POST", "/hook/open", [JSON, ("transfer-encoding", "chunked")], None)
    + b"1\r\n1\r\n0\r\n\r\n"
)
BARE = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
HALF = b"POST /hook/open HTTP/1.1\r\nX-Slow: "
UPGRADING = request_bytes(
    "POST",
    "/hook/open",
    [JSON, ("Connection", "upgrade"), ("Upgrade", "websocket")],
    b"1",
)
QUICK_HEADS = {"HOOKLINE_INGRESS__HEAD_TIMEOUT_S": "0.4"}


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, OPEN, environment=QUICK_HEADS) as instance:
        yield instance


@asynccontextmanager
async def connected(
    address: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


@asynccontextmanager
async def serving(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[Server, str]]:
    """The public port alone, and its address."""
    metrics = EdgeMetrics(None)
    places = Places(10, 10, metrics.connection_refused)
    server = Server(answer, Surroundings(places, Senders(), metrics, 60.0), 60.0)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0)
    try:
        yield server, f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await server.shutdown(1)


def queued(server: Server) -> int:
    """How many requests wait on the connection that has the most."""
    connections = [one for one in server.connections if isinstance(one, Connection)]
    return max(len(one._messages) for one in connections)


@pytest.mark.security("S14")
@pytest.mark.parametrize("one", [BARE, GOOD, CHUNKED], ids=["bare", "body", "chunks"])
async def test_few_of_many_requests_on_a_connection_are_requests_yet(
    one: bytes,
) -> None:
    """S14: thousands in a packet are bytes that wait, and all are answered."""
    many = 3_000
    gate = asyncio.Event()
    seen = []

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await gate.wait()
        seen.append(queued(server))
        return web.Response()

    async with serving(answer) as (server, address), connected(address) as pair:
        reader, writer = pair
        writer.write(one * many)
        await until(lambda: bool(server.connections) and queued(server) == 1)
        gate.set()
        for _ in range(many):
            assert (await read_answer(reader)).status == 200

    assert len(seen) == many
    assert max(seen) == 1


@pytest.mark.security("S12")
@pytest.mark.parametrize("good", [GOOD, CHUNKED], ids=["declared", "chunked"])
@pytest.mark.parametrize(
    "broken", [b"BAD\0 / x\r\n\r\n", b"\0", GOOD.replace(b": 1", b": +1")]
)
@pytest.mark.parametrize("size", [100_000, 7])
async def test_requests_before_a_broken_one_in_their_packet_are_answered(
    hookline: Instance, good: bytes, broken: bytes, size: int
) -> None:
    """S12: each in its turn; what follows the broken one is in doubt."""
    sent = good * 3 + broken
    async with connected(hookline.hosted.http) as (reader, writer):
        *begin, end = (sent[at : at + size] for at in range(0, len(sent), size))
        for piece in begin:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        # What follows comes with the last of it: later the connection is not there.
        writer.write(end + GOOD)
        answers = [await read_answer(reader) for _ in range(4)]
        with suppress(ConnectionError):
            assert await reader.read() == b""

    assert [answer.status for answer in answers] == [200, 200, 200, 400]
    await hookline.ends.wait_count(3)


@pytest.mark.security("S13")
@pytest.mark.parametrize("good", [GOOD, CHUNKED], ids=["declared", "chunked"])
async def test_half_a_head_in_the_packet_of_a_request_has_its_deadline(
    hookline: Instance, good: bytes
) -> None:
    """S13: as if it had come alone."""
    async with connected(hookline.hosted.http) as (reader, writer):
        writer.write(good + HALF)
        answers = [await read_answer(reader) for _ in range(2)]
        rest = await reader.read()

    assert [answer.status for answer in answers] == [200, 408]
    assert rest == b""


@pytest.mark.parametrize("apart", [False, True], ids=["in one packet", "apart"])
async def test_who_asks_for_another_protocol_goes_on_in_this_one(
    hookline: Instance, *, apart: bool
) -> None:
    """No request changes what the next one is."""
    async with connected(hookline.hosted.http) as (reader, writer):
        writer.write(UPGRADING if apart else UPGRADING + GOOD + UPGRADING)
        answers = [await read_answer(reader)]
        if apart:
            writer.write(GOOD + UPGRADING)
        answers += [await read_answer(reader) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 50, 1_000])
async def test_requests_are_the_same_however_they_are_cut(size: int) -> None:
    """Reads end anywhere."""
    sent = (BARE + CHUNKED + GOOD) * 3
    bodies = []

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        bodies.append(await http.read())
        return web.Response()

    async with serving(answer) as (_, address), connected(address) as pair:
        reader, writer = pair
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        for _ in range(9):
            await read_answer(reader)

    assert bodies == [b"", b"1", b"1"] * 3


@pytest.mark.parametrize(
    ("read", "is_one"),
    [
        (GOOD, True),
        (BARE, True),
        (GOOD[:-1], True),  # a head alone
        (request_bytes("POST", "/", [], b"22")[:-1], False),
        (GOOD + b"2", False),
        (GOOD * 2, False),
        (BARE[:-1], False),
        (CHUNKED, False),
    ],
)
def test_one_request_is_told_from_more_and_less(read: bytes, *, is_one: bool) -> None:
    """Only what is one request goes to the parser as it came."""
    assert is_one_request(read) is is_one
