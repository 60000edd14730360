"""Bodies as they were sent, and the files in them: ranges, of which nothing is copied.

Of a body with content codings the ranges are those of the decoded body: what stands
before a range is decoded again each time that it is read, in a thread. So small files are
no such ranges, and what all others come to is bounded (`bodies_multipart`).
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from hookline.bodies_encoding import Decoder
from hookline.body_store import BodyStore
from hookline.event import Content, check_held
from hookline.v1 import event_pb2


@dataclass(frozen=True, slots=True)
class StoredRange:
    """Content that is a range of a body in the body store."""

    store: BodyStore
    stored: event_pb2.StoredBody
    start: int
    size: int
    sha256: str

    async def read(self) -> AsyncIterator[bytes]:
        """Read from the beginning. Raises Unavailable where the store is out of reach."""
        end = self.start + self.size
        async for piece in self.store.read(self.stored, self.start, end):
            yield piece

    async def whole(self, limit: int) -> bytes:
        """All of it. Raises TerminalError where that is more than `limit`."""
        return await _whole(self, limit)


@dataclass(frozen=True, slots=True)
class DecodedRange:
    """Content that is a range of what a body is without its content codings."""

    body: Content
    content_encoding: str
    start: int
    size: int
    sha256: str

    async def read(self) -> AsyncIterator[bytes]:
        """Read from the beginning. Raises Unavailable where the store is out of reach."""
        # No limit: that it is within the flow's was checked, and reading stops at `end`.
        decoder = Decoder(self.content_encoding, sys.maxsize)
        cut = _Cut(self.start, self.start + self.size)
        async for packed in self.body.read():
            wanted = cut.of(decoder.feed(packed))
            while piece := await asyncio.to_thread(next, wanted, b""):
                yield piece
            if cut.done:
                return

    async def whole(self, limit: int) -> bytes:
        """All of it. Raises TerminalError where that is more than `limit`."""
        return await _whole(self, limit)


class _Cut:
    """Cuts a range out of pieces that come one after another."""

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._end = end
        self._position = 0

    @property
    def done(self) -> bool:
        """Whether nothing of it is still to come."""
        return self._position >= self._end

    def of(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """What of the next pieces is in the range."""
        for piece in pieces:
            before, self._position = self._position, self._position + len(piece)
            if self._position > self._start and before < self._end:
                yield piece[max(self._start - before, 0) : self._end - before]
            if self.done:
                return


async def _whole(content: Content, limit: int) -> bytes:
    check_held(content.size, limit)
    return b"".join([piece async for piece in content.read()])
