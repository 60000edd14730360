"""Bodies as they were sent, and the files in them: ranges, of which nothing is copied.

Of a body with content codings the ranges are those of the decoded body: what stands
before a range is decoded again each time that it is read.
"""

import sys
from collections.abc import AsyncIterator
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
        end = self.start + self.size
        # No limit: that it is within the flow's was checked, and reading stops at `end`.
        decoder = Decoder(self.content_encoding, sys.maxsize)
        position = 0
        async for packed in self.body.read():
            for piece in decoder.feed(packed):
                before, position = position, position + len(piece)
                if position > self.start and before < end:
                    yield piece[max(self.start - before, 0) : end - before]
                if position >= end:
                    return

    async def whole(self, limit: int) -> bytes:
        """All of it. Raises TerminalError where that is more than `limit`."""
        return await _whole(self, limit)


async def _whole(content: Content, limit: int) -> bytes:
    check_held(content.size, limit)
    return b"".join([piece async for piece in content.read()])
