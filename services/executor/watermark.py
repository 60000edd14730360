"""How far a partition is done: the lowest offset that has neither ended nor is passed."""

from collections import deque


class Watermark:
    """Offsets are opened in order and finished in any.

    What is passed has not ended, but the journal has it: it holds no commit any more.
    """

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._passed: set[int] = set()
        self._next: int | None = None

    def open(self, offset: int) -> None:
        """An event has been read; offsets come in rising order."""
        self._open.append(offset)
        self._next = offset + 1

    def finish(self, offset: int) -> bool:
        """An event has ended; tells whether the commit may move for it."""
        if not self._is_open(offset):
            return False  # it was passed, and the commit with it
        self._passed.discard(offset)
        self._finished.add(offset)
        return self._move()

    def pass_by(self, offset: int) -> None:
        """An event that has not ended is in the journal as such."""
        if self._is_open(offset):
            self._passed.add(offset)
            self._move()

    def _is_open(self, offset: int) -> bool:
        return bool(self._open) and offset >= self._open[0]

    def _move(self) -> bool:
        moved = False
        while self._open:
            first = self._open[0]
            if first in self._finished:
                self._finished.discard(first)
            elif first in self._passed:
                self._passed.discard(first)
            else:
                break
            self._open.popleft()
            moved = True
        return moved

    @property
    def read_to(self) -> int:
        """Events from here on have not been read."""
        return self._next or 0

    @property
    def finished(self) -> frozenset[int]:
        """What has ended above the commit."""
        return frozenset(self._finished)

    @property
    def span(self) -> int:
        """How many events have been read above the commit."""
        return len(self._open)

    @property
    def middle(self) -> int:
        """An offset with as many read ones behind it as before it, above the commit."""
        return self._open[len(self._open) // 2]

    @property
    def commit_offset(self) -> int | None:
        """The next offset to commit: everything before it has ended, or is passed."""
        return self._open[0] if self._open else self._next
