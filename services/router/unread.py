"""Beside stop 3: bodies of refused requests that are read on, so that they tell nothing.

Whether there is a concealed flow must not show in what is read. So while any flow is
concealed, a request that is refused as if there were no flow has its body read to the end
and dropped, within the same deadlines, wherever the refusal came from: no such flow, a
concealed flow's head that cannot pass, or its body. No more is read than the largest body
that a concealed flow takes; where more is declared nothing is. Nothing of it is kept.
"""

from contextlib import suppress

from hookline.errors import Rejected, Unavailable
from hookline.v1 import event_pb2
from services.router.uploads import Read


class Passing:
    """A body on its way, and how much of it has passed."""

    def __init__(self, read: Read, declared: int | None) -> None:
        self._read = read
        self._declared = declared or 0
        self._ended = False
        self._size = 0

    async def read(self, room: int, /) -> bytes:
        """The next piece, as the reader within has it; after a fault nothing is read."""
        try:
            piece = await self._read(room)
        except BaseException:
            self._ended = True
            raise
        self._ended = not piece
        self._size += len(piece)
        return piece

    async def drop(self, head: event_pb2.Request, most: int) -> None:
        """Read on to the end, or beyond `most` bytes; the head is left with the size."""
        if self._declared > most:
            return
        with suppress(Rejected, Unavailable):
            while not self._ended and self._size <= most:
                await self.read(most - self._size)
        if self._size:
            head.stored_body.size = self._size
