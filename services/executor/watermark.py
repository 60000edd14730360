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

    def has_finished(self, offset: int) -> bool:
        """Whether an event has ended; of one that is not read yet: no."""
        before = bool(self._open) and offset < self._open[0]
        return before or offset in self._finished or self._all_finished_to(offset)

    def _all_finished_to(self, offset: int) -> bool:
        return not self._open and self._next is not None and offset < self._next

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
