"""How many bytes of bodies on their way the router holds, and who waits for room.

Apart from what is held of requests that are here as a whole: bodies may take their time,
and nobody's takes the room of webhooks that are small. What a body will hold is reserved
before its sender is told to go on; where there is no room it waits for a while, and is
refused from its head, not in the middle. Senders have shares, and take turns.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hookline.errors import Unavailable
from hookline.shares import Shares
from hookline.sources import source_of

MOST_UPLOAD_BYTES: Final = 64 * 1024 * 1024
# Less than the edge waits for the answer to a head.
PATIENCE_S: Final = 4.0
# The part beside it that heads have, and what is here of their bodies already.
HEADS: Final = 4
FULL = "Too many bodies are on their way: send the request again later."


class _Waiting:
    """Somebody who waits for so much room."""

    __slots__ = ("more", "room", "size")

    def __init__(self, size: int, *, more: bool) -> None:
        self.size = size
        self.more = more
        self.room: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class UploadBound:
    """The bound of one router process."""

    def __init__(
        self, most: int = MOST_UPLOAD_BYTES, patience_s: float = PATIENCE_S
    ) -> None:
        self._bodies = Shares(most)
        self._heads = Shares(most // HEADS)
        self._patience_s = patience_s
        self._waiting: dict[str, deque[_Waiting]] = {}

    @property
    def most(self) -> int:
        """No body may hold more."""
        return self._bodies.most

    @property
    def taken(self) -> int:
        """Bytes that are held, or reserved."""
        return self._bodies.taken + self._heads.taken

    @contextmanager
    def holding(self, remote: str, head_size: int, unread: int = 0) -> Iterator["Held"]:
        """What one body holds, until the block ends. Raises Unavailable.

        `unread` is what may lie here of it before it is read.
        """
        source = source_of(remote)
        if not self._heads.take(source, head_size + unread):
            raise Unavailable(FULL)
        held = Held(self, source, unread)
        try:
            yield held
        finally:
            held.begin()
            self._heads.give(source, head_size)
            self._bodies.give(source, held.reserved)
            self._let_in()

    def give_head(self, source: str, size: int) -> None:
        """Hold so many bytes less beside bodies that are read."""
        self._heads.give(source, size)

    def take(self, source: str, size: int) -> None:
        """Hold so many bytes more, at once. Raises Unavailable."""
        if not self._bodies.take(source, size):
            raise Unavailable(FULL)

    async def wait(self, source: str, size: int, *, more: bool) -> None:
        """Hold so many bytes more when there is room. Raises Unavailable.

        Who holds something already, and needs more to come to its end, comes first.
        """
        comes_first = more or source not in self._waiting
        if comes_first and self._bodies.take(source, size, more=more):
            return
        waiting = _Waiting(size, more=more)
        queue = self._waiting.setdefault(source, deque())
        if more:
            queue.appendleft(waiting)
        else:
            queue.append(waiting)
        try:
            async with asyncio.timeout(self._patience_s):
                await waiting.room
        except TimeoutError as error:
            self._leave(source, waiting)
            raise Unavailable(FULL) from error
        except asyncio.CancelledError:
            self._leave(source, waiting)
            raise

    def _leave(self, source: str, waiting: _Waiting) -> None:
        """Wait no more; room that has just come is for others."""
        if not waiting.room.cancelled():
            self._bodies.give(source, waiting.size)
        self._let_in()

    def _let_in(self) -> None:
        """Give room to those who wait: one of each source, and again."""
        came_in = True
        while came_in:
            # Not only the first of them: each has its turn before one has its second.
            came_in = sum(self._let_one_in(source) for source in [*self._waiting]) > 0

    def _let_one_in(self, source: str) -> bool:
        """Give room to the one of a source who has waited longest, and still waits."""
        queue = self._waiting[source]
        while queue and queue[0].room.cancelled():
            queue.popleft()
        comes_in = bool(queue) and self._bodies.take(
            source, queue[0].size, more=queue[0].more
        )
        if comes_in:
            queue.popleft().room.set_result(None)
        if not queue:
            del self._waiting[source]
        return comes_in


class Held:
    """What one body holds: counted as it comes, some of it reserved before."""

    def __init__(self, bound: UploadBound, source: str, unread: int) -> None:
        self._bound = bound
        self._source = source
        self._unread = unread
        self._used = 0
        self.reserved = 0

    def begin(self) -> None:
        """The body is read from now on, and counted as it comes."""
        if self._unread:
            self._bound.give_head(self._source, self._unread)
            self._unread = 0

    def __call__(self, size: int) -> None:
        """Count bytes, fewer where negative. Raises Unavailable."""
        more = self._used + size - self.reserved
        if more > 0:
            self._bound.take(self._source, more)
            self.reserved += more
        self._used += size

    async def reserve(self, size: int) -> None:
        """Wait until so much in all can be held. Raises Unavailable."""
        more = min(size, self._bound.most) - self.reserved
        if more > 0:
            await self._bound.wait(self._source, more, more=self.reserved > 0)
            self.reserved += more
