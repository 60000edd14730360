"""How far a partition is done: the lowest unfinished offset."""

from collections import deque


class Watermark:
    """Offsets are opened in order and finished in any."""

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._next: int | None = None

    def open(self, offset: int) -> None:
        """An event has been read; offsets come in rising order."""
        self._open.append(offset)
        self._next = offset + 1

    def finish(self, offset: int) -> bool:
        """An event has ended; tells whether the lowest unfinished offset has moved."""
        self._finished.add(offset)
        moved = False
        while self._open and self._open[0] in self._finished:
            self._finished.discard(self._open.popleft())
            moved = True
        return moved

    def is_open(self, offset: int) -> bool:
        """Whether an event has been read and has not ended."""
        first = self._open[0] if self._open else self.read_to
        return first <= offset < self.read_to and offset not in self._finished

    @property
    def read_to(self) -> int:
        """Events from here on have not been read."""
        return self._next or 0

    @property
    def finished(self) -> frozenset[int]:
        """What has ended above the lowest unfinished offset."""
        return frozenset(self._finished)

    @property
    def unfinished(self) -> int:
        """How many events are open, those included that wait for an earlier one."""
        return len(self._open)

    @property
    def commit_offset(self) -> int | None:
        """The next offset to commit: everything before it has ended."""
        return self._open[0] if self._open else self._next
