"""Connections that are slow, idle or deaf: ended in time, while others are served."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hookline.v1 import event_pb2
from services.ingress.body import Read
from services.ingress.serve import Edge, serve_http
from tests.caller import Answer, call, read_answer, request_bytes
from tests.instance import JSON, Instance, running
from tests.waiting import until

OPEN = """
id: open
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
QUICK = {
    "HOOKLINE_INGRESS__HEAD_TIMEOUT_S": "0.4",
    "HOOKLINE_INGRESS__BODY_TIMEOUT_S": "0.4",
    "HOOKLINE_INGRESS__KEEPALIVE_TIMEOUT_S": "0.4",
}
HEAD = b"POST /hook/open HTTP/1.1\r\nHost: x\r\nX-Slow: "
BODY = request_bytes("POST", "/hook/open", [JSON, ("Content-Length", "9999")], None)
CHUNKS = request_bytes(
    "POST", "/hook/open", [JSON, ("Transfer-Encoding", "chunked")], None
)
EXTENSION = CHUNKS + b"1;"
GOOD = request_bytes("POST", "/hook/open", [JSON], b"1")
MANY = 1_000
SMALLEST_ANSWER_BYTES = 200


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, OPEN, environment=QUICK) as instance:
        yield instance


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Slow:
    """A sender that begins with some bytes and goes on with single ones."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.ended = False

    async def dribble(self, start: bytes, drop: bytes, pause_s: float) -> None:
        """Send until the other end is closed."""
        try:
            self.writer.write(start)
            while not self.reader.at_eof():
                if drop:
                    self.writer.write(drop)
                    await self.writer.drain()
                async with asyncio.timeout(pause_s):
                    await self.reader.read(4096)
        except TimeoutError:
            await self.dribble(b"", drop, pause_s)
        except ConnectionError:
            pass
        self.ended = True
        self.writer.close()


@asynccontextmanager
async def connected(address: str, source: str = "127.0.0.1") -> AsyncIterator[Slow]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), local_addr=(source, 0)
    )
    try:
        yield Slow(reader, writer)
    finally:
        writer.close()


@pytest.mark.security("S13")
@pytest.mark.parametrize("pause_s", [0.05, 0.25], ids=["often", "rarely"])
@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b""),
        (HEAD, b"a"),
        (b"", b"\r\n"),
        (BODY, b" "),
        (CHUNKS, b"1\r\n \r\n"),
        (EXTENSION, b"a"),
        (GOOD, b""),
        (GOOD + HEAD, b""),
        (GOOD + HEAD, b"a"),
    ],
    ids=[
        *("idle", "head", "blank lines", "body", "chunks", "extension"),
        *("idle after a request", "half a second head", "slow second head"),
    ],
)
async def test_what_is_slow_is_ended(
    hookline: Instance, start: bytes, drop: bytes, pause_s: float
) -> None:
    """S13: a byte now and then buys no time beyond the deadline or the floor."""
    before = descriptors()
    async with asyncio.timeout(20), connected(hookline.hosted.http) as slow:
        await slow.dribble(start, drop, pause_s)

    await until(lambda: descriptors() <= before)


@pytest.mark.security("S13")
@pytest.mark.parametrize(
    ("start", "status"), [(b"", 408), (HEAD, 408), (BODY + b" ", 408), (GOOD, 200)]
)
async def test_a_slow_sender_is_told_before_its_connection_ends(
    hookline: Instance, start: bytes, status: int
) -> None:
    """S13: 408 as a problem, like every refusal."""
    async with connected(hookline.hosted.http) as slow:
        slow.writer.write(start)
        answer = await read_answer(slow.reader)
        rest = await slow.reader.read()

    assert answer.status == status
    assert rest == b""
    if status == 408:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["type"] == "urn:hookline:problem:too-slow"


@pytest.mark.security("S13")
async def test_a_sender_that_takes_no_answers_is_ended(hookline: Instance) -> None:
    """S13: what is written to nobody holds a connection as what is not sent does."""
    before = descriptors()
    many = request_bytes("POST", "/nowhere", [JSON], b"1") * 1_000
    async with connected(hookline.hosted.http) as deaf:
        pipe = deaf.writer.transport
        pipe.pause_reading()  # type: ignore[attr-defined] # a reading transport

        async def flood() -> None:
            while True:
                deaf.writer.write(many)
                await deaf.writer.drain()

        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):
                await flood()

    await until(lambda: descriptors() <= before)


class Counting:
    """A router that accepts all there is."""

    def __init__(self) -> None:
        self.count = 0

    async def receive(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """Count a request."""
        self.count += 1
        return event_pb2.Outcome(
            request_id=request.request_id, accepted=event_pb2.Accepted()
        )

    async def upload(
        self, head: event_pb2.Request, _declared_size: int | None, _read: Read
    ) -> event_pb2.Outcome:
        """Count one without its body."""
        return await self.receive(head)


@pytest.mark.security("S13")
async def test_few_requests_begin_whose_answers_are_not_taken() -> None:
    """S13: neither this process nor the system keeps megabytes of answers."""
    router = Counting()
    many = request_bytes("POST", "/hook/any", [], b"1") * 1_000
    edge = Edge("127.0.0.1", 0, head_timeout_s=0.4)
    loop = asyncio.get_running_loop()

    async def flood(pipe: socket.socket) -> None:
        async with asyncio.timeout(60):
            while True:
                await loop.sock_sendall(pipe, many)

    with socket.socket() as pipe:
        # Small windows at this end, too: what stays there is not the server's.
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        pipe.settimeout(0)
        async with serve_http(edge, router) as port:
            await loop.sock_connect(pipe, ("127.0.0.1", port))
            with pytest.raises(ConnectionError):
                await flood(pipe)

    assert 0 < router.count * SMALLEST_ANSWER_BYTES < 512 * 1024


@pytest.mark.slow
@pytest.mark.security("S13")
async def test_a_thousand_slow_connections_end_while_others_are_answered(
    tmp_path: Path,
) -> None:
    """S13: idle ones, slow heads, slow bodies; afterwards all descriptors are back."""
    kinds = [(b"", b""), (HEAD, b"a"), (BODY, b" ")]
    environment = {
        "HOOKLINE_INGRESS__HEAD_TIMEOUT_S": "3",
        "HOOKLINE_INGRESS__BODY_TIMEOUT_S": "3",
    }
    async with running(tmp_path, OPEN, environment=environment) as hookline:
        http = hookline.hosted.http
        await call(http, "POST", "/hook/open", [JSON], b"1")
        before = descriptors()
        answers: list[Answer] = []
        slow: list[Slow] = []
        async with asyncio.TaskGroup() as tasks:
            for number in range(MANY):
                source = f"127.0.0.{2 + number % 3}"
                host, _, port = http.rpartition(":")
                pair = await asyncio.open_connection(
                    host, int(port), local_addr=(source, 0)
                )
                one = Slow(*pair)
                slow.append(one)
                start, drop = kinds[number % 3]
                tasks.create_task(one.dribble(start, drop, 1.0))
            held = descriptors()
            while not all(one.ended for one in slow):
                answers.append(await call(http, "POST", "/hook/open", [JSON], b"1"))

        assert held > before + MANY / 2
        assert {answer.status for answer in answers} == {200}
        await until(lambda: descriptors() <= before)
