"""Senders that wait with their body until they are asked for it, as curl does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.caller import chunk, read_answer, request_bytes
from tests.instance import JSON, running
from tests.routers import FLOWS, body_of, edge, public, routing

EXPECT = ("Expect", "100-continue")
INVITATION = b"HTTP/1.1 100 Continue\r\n\r\n"
SIZES = [2, 70_000, 300_000]


@asynccontextmanager
async def one_process(directory: Path) -> AsyncIterator[str]:
    async with running(directory, *FLOWS, executor=False) as hookline:
        yield hookline.hosted.http


@asynccontextmanager
async def services(directory: Path) -> AsyncIterator[str]:
    async with (
        routing(directory, *FLOWS) as router,
        router.serving() as address,
        edge(address) as client,
        public(client) as http,
    ):
        yield http


@pytest.fixture(params=[one_process, services])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with request.param(tmp_path) as http:
        yield http


def head_of(path: str, framing: tuple[str, str], version: bytes = b"1.1") -> bytes:
    head = request_bytes("POST", path, [JSON, EXPECT, framing], None)
    return head.replace(b"HTTP/1.1", b"HTTP/" + version, 1)


@asynccontextmanager
async def connected(
    address: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(30):
            yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_sender_that_waits_is_asked_for_its_body(
    http: str, size: int, declared: bool
) -> None:
    """Once, and on the same connection for the next request again."""
    body = body_of(size)
    framing = ("Content-Length", str(size))
    if not declared:
        framing = ("Transfer-Encoding", "chunked")
    async with connected(http) as (reader, writer):
        for _ in range(2):
            writer.write(head_of("/hook/open", framing))
            invitation = await reader.readexactly(len(INVITATION))
            writer.write(body if declared else chunk(body) + b"0\r\n\r\n")
            answer = await read_answer(reader)

            assert invitation == INVITATION
            assert answer.status == 200, answer


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_refused_from_its_head_is_not_asked_for(
    http: str, size: int
) -> None:
    """The answer is the first thing that comes, and the connection ends with it."""
    async with connected(http) as (reader, writer):
        writer.write(head_of("/hook/no-such-flow", ("Content-Length", str(size))))
        answer = await read_answer(reader)
        rest = await reader.read()

    assert answer.status == 404
    assert rest == b""


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_who_sends_without_waiting_is_not_asked(
    http: str, version: bytes
) -> None:
    """The body is there already; of HTTP/1.0 nobody waits, whatever is said."""
    async with connected(http) as (reader, writer):
        head = head_of("/hook/open", ("Content-Length", "300000"), version)
        writer.write(head + body_of(300_000))
        answer = await read_answer(reader)

    assert answer.status == 200
