"""Bodies in the body store as a flow sees them: attachments are ranges of the object.

Nothing is copied. Of a body with a content coding the ranges are those of the decoded
body, so what stands before a range is decoded again each time that it is read.
"""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from hookline.bodies_encoding import Decoder
from hookline.event import check_held
from hookline.v1 import event_pb2


class StoredBodies(Protocol):
    """Where stored bodies are read from: the body store."""

    def read(
        self, stored: event_pb2.StoredBody, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The object's bytes, in pieces. Raises Unavailable where it cannot be asked."""
        ...


@dataclass(frozen=True, slots=True)
class StoredRange:
    """Content that is a range of a stored body, behind its content codings."""

    store: StoredBodies
    stored: event_pb2.StoredBody
    content_encoding: str
    start: int
    size: int
    sha256: str

    async def read(self) -> AsyncIterator[bytes]:
        """Read from the beginning. Raises Unavailable where the store is out of reach."""
        end = self.start + self.size
        if not self.size:
            return
        if not self.content_encoding:
            async for piece in self.store.read(self.stored, self.start, end):
                yield piece
            return
        # No limit: that it is within the flow's was checked, and reading stops at `end`.
        decoder = Decoder(self.content_encoding, sys.maxsize)
        position = 0
        async for packed in self.store.read(self.stored):
            for piece in decoder.feed(packed):
                before, position = position, position + len(piece)
                if position > self.start and before < end:
                    yield piece[max(self.start - before, 0) : end - before]
                if position >= end:
                    return

    async def whole(self, limit: int) -> bytes:
        """All of it. Raises TerminalError where that is more than `limit`."""
        check_held(self.size, limit)
        return b"".join([piece async for piece in self.read()])
