"""How long a sender may take over a body: its deadline, its floor, and what counts."""

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.web import RequestPayloadError

from hookline.errors import BrokeOff, TooSlow
from services.ingress.body import Body

FAST = 10**9
ROOM = 1_000_000


def stream() -> StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    return StreamReader(protocol, 2**16, loop=loop)


def feed_later(content: StreamReader, seconds: float, piece: bytes) -> Any:
    return asyncio.get_running_loop().call_later(seconds, content.feed_data, piece)


async def test_a_body_is_read_in_the_pieces_that_come() -> None:
    """The last is empty."""
    content = stream()
    body = Body(content, 10.0, FAST)
    content.feed_data(b"one")
    first = await body.read(ROOM)
    content.feed_data(b"two")
    content.feed_eof()

    assert (first, await body.read(ROOM), await body.read(ROOM)) == (
        b"one",
        b"two",
        b"",
    )


async def test_a_body_whose_framing_breaks_has_broken_off() -> None:
    """Which is not the same as one that is not well-formed: it tells no content."""
    content = stream()
    content.set_exception(RequestPayloadError("no chunk"))
    with pytest.raises(BrokeOff):
        await Body(content, 10.0, FAST).read(ROOM)


async def test_a_body_that_does_not_come_is_too_slow() -> None:
    """After its deadline."""
    body = Body(stream(), 0.05, FAST)
    with pytest.raises(TooSlow):
        await body.read(ROOM)


async def test_what_has_come_gives_time_for_the_rest() -> None:
    """A byte of a floor of ten a second is worth a tenth of a second."""
    content = stream()
    body = Body(content, 0.4, 10)
    for piece in (b"x" * 100, b"y" * 100, b"z"):
        # Together they take longer than the deadline.
        feed_later(content, 0.25, piece)

        assert await body.read(ROOM) == piece


@pytest.mark.security("S13")
async def test_what_has_come_at_once_buys_no_long_silence() -> None:
    """S13: after six million bytes the rest is waited for no longer than at first."""
    content = stream()
    body = Body(content, 0.05, 1024)
    for _ in range(100):
        content.feed_data(b"x" * 60_000)
        await body.read(ROOM)

    async with asyncio.timeout(10):
        with pytest.raises(TooSlow):
            await body.read(ROOM)


async def test_time_in_which_nobody_reads_is_not_the_senders() -> None:
    """The one who takes the pieces is slow, not the one who sends them."""
    content = stream()
    body = Body(content, 0.1, FAST)
    content.feed_data(b"x")
    await body.read(ROOM)
    taken = asyncio.Event()
    asyncio.get_running_loop().call_later(0.15, taken.set)
    await taken.wait()
    feed_later(content, 0.01, b"y")

    assert await body.read(ROOM) == b"y"
