"""Stop 3, a body on its way into the store: an object that is there as a whole, or not.

The store takes pieces at its own pace. What is given up ends by an exception in the
iterator that it reads: then it leaves neither a part of a file nor, in a bucket, an
unfinished upload, as a cancelled one does.
"""

import asyncio
import time
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Final, Protocol, Self, cast

from obstore.exceptions import BaseError

from hookline.errors import Unavailable
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2

AWAY: Final = "Large bodies cannot be kept at present: send the request again later."
# How long a body may take to arrive. What is deleted is older than its event by more.
LONGEST_S: Final = 20 * 3600.0
logger = get_logger(__name__)


class Store(Protocol):
    """What writing asks of the store."""

    @property
    def part_bytes(self) -> int:
        """Objects up to this size are written in one go."""
        ...

    def put(
        self, name: str, content: bytes | AsyncIterator[bytes], /
    ) -> Awaitable[object]:
        """Begin to write an object; an iterator that raises leaves nothing of it."""
        ...

    async def make_durable(self, name: str, /) -> None:
        """Return when an object that is written outlives a power cut."""
        ...

    async def delete(self, name: str, /) -> None:
        """Delete an object, if it is there."""
        ...


class Writing:
    """An object on its way into the store. Its methods raise Unavailable."""

    def __init__(
        self, store: Store, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._clock = clock
        self._begun_at = clock()
        self._store = store
        self._first: list[bytes] = []
        self._size = 0
        self._digest = sha256()
        self._pieces = _Pieces()
        self._put: Future[object] | None = None
        self._finished = False

    async def write(self, piece: bytes) -> None:
        """Take a piece; returns when there is room for another."""
        self._digest.update(piece)
        self._size += len(piece)
        if self._put is not None:
            await self._hand_over(piece)
            return
        self._first.append(piece)
        if self._size > self._store.part_bytes:
            self._begin(self._pieces)
            while self._first:
                await self._hand_over(self._first.pop(0))

    async def finish(self) -> event_pb2.StoredBody:
        """Return when the object is complete and durable.

        Not where that has taken too long: it would be taken for one that is left over.
        """
        if self._clock() - self._begun_at > LONGEST_S:
            raise Unavailable(
                "The body took too long to arrive: send it again, faster."
            )
        with _unavailable():
            if self._put is None:
                put = self._begin(b"".join(self._first))
            else:
                put = self._put
                await self._pieces.put(None)
            # Given up halfway, a multipart upload would stay: it ends in `abandon`.
            await asyncio.shield(put)
            await self._store.make_durable(self.name)
        self._finished = True
        return event_pb2.StoredBody(
            name=self.name, size=self._size, sha256=self._digest.digest()
        )

    async def abandon(self) -> None:
        """Leave nothing, unless it is finished."""
        if self._finished or self._put is None:
            return
        self._pieces.abort()
        with suppress(_Abandoned, BaseError, OSError):
            await asyncio.shield(self._put)
        # Also where that has failed: what timed out may be there all the same.
        await self._store.delete(self.name)

    def _begin(self, content: bytes | AsyncIterator[bytes]) -> Future[object]:
        # obstore's awaitables are futures: the work has begun.
        self._put = cast("Future[object]", self._store.put(self.name, content))
        self._put.add_done_callback(self._pieces.close)
        return self._put

    async def _hand_over(self, piece: bytes) -> None:
        with _unavailable():
            await self._pieces.put(piece)
            if self._put is not None and self._put.done():
                self._put.result()


class _Abandoned(Exception):
    """Ends an upload that is not wanted any more, with nothing left of it."""


class _Pieces:
    """What obstore iterates over: one piece at a time, so that it sets the pace."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._aborted = False

    async def put(self, piece: bytes | None) -> None:
        """Offer a piece, or the end, once the one before is taken, or nobody takes any."""
        await self._room.wait()
        self._room.clear()
        self._waiting.put_nowait(piece)

    def close(self, _ended: object) -> None:
        """Take no more: the put has ended."""
        self._room.set()

    def abort(self) -> None:
        """Raise from the iterator instead of ending it."""
        self._aborted = True
        self._waiting.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._waiting.get()
        self._room.set()
        if self._aborted:
            raise _Abandoned
        if piece is None:
            raise StopAsyncIteration
        return piece


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        logger.warning("body.unwritten", error=first_line(error))
        raise Unavailable(AWAY) from error


def first_line(error: Exception) -> str:
    """What of a library's words is for a line."""
    return str(error).strip().partition("\n")[0]
