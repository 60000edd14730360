"""Stop 7, its bound: how many bytes of stored bodies are parsed and in hand at once.

The lanes count records, and the record of an event whose body is in the store is small,
however large the value that is made of the body. It counts here, from before it is read to
its execution's end. Whoever comes first is first, so that none waits for ever.
"""

from collections import deque
from types import TracebackType
from typing import Final, Self

from services.executor.tenure import Tenure

MOST_BYTES: Final = 64 * 1024 * 1024
LOOK_S: Final = 0.05


class Room:
    """The bytes of one executor; what alone is larger than all of it goes alone."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.taken = 0
        self.waiting: deque[Share] = deque()

    def share(self) -> "Share":
        """What one execution takes; given back where the block ends."""
        return Share(self)


class Share:
    """What one execution has taken."""

    __slots__ = ("_room", "_size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.give_back()

    async def take(self, size: int, tenure: Tenure) -> None:
        """Return when there is room for so many bytes.

        Raises CancelledError where the tenure ends before.
        """
        room = self._room
        size = min(size, room.most)
        room.waiting.append(self)
        try:
            while room.waiting[0] is not self or room.taken + size > room.most:
                await tenure.wait(LOOK_S)
        finally:
            room.waiting.remove(self)
        self._size += size
        room.taken += size

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._room.taken -= self._size
        self._size = 0
