"""Stop 9, how long a commit has been held: when what it waits for was read, and appended.

A mark a second, at the most, says where reading was then. So it is known to a second, at
the cost of a look at the clock for each batch that is read.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from hookline.log import Record
from services.executor.watermark import Watermark

MARK_S: Final = 1.0
# An event that has not ended for so long is passed, and those before it that have not.
MOST_HELD_S: Final = 10.0


class Mark(NamedTuple):
    """A record, when it was read, on the monotonic clock, and appended, since 1970."""

    offset: int
    read_at_s: float
    appended_at_ms: int


class Held:
    """What the commit of a partition waits for, and for how long it does."""

    def __init__(
        self, watermark: Watermark, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._watermark = watermark
        self._now_s = now_s
        self._marks: deque[Mark] = deque()

    def read(self, record: Record) -> None:
        """The first record of a batch is read."""
        now_s = self._now_s()
        if not self._marks or now_s - self._marks[-1].read_at_s >= MARK_S:
            self._marks.append(Mark(record.offset, now_s, record.appended_at_ms))

    def is_too_long(self) -> bool:
        """Whether what holds the commit should be passed."""
        first = self._first()
        return first is not None and self._now_s() - first.read_at_s >= MOST_HELD_S

    @property
    def through(self) -> int:
        """The offset that the commit should reach: what is younger may hold it still."""
        since_s = self._now_s() - MOST_HELD_S / 2
        for mark in self._marks:
            if mark.read_at_s > since_s:
                return mark.offset
        return self._watermark.read_to

    def age_s(self, now_s: float) -> float:
        """How long ago what the commit waits for was appended; 0 where it waits for none.

        `now_s` counts from 1970, on the log's clock.
        """
        first = self._first()
        return 0.0 if first is None else max(0.0, now_s - first.appended_at_ms / 1000)

    def _first(self) -> Mark | None:
        """The mark of what the commit waits for."""
        commit = self._watermark.commit_offset
        marks = self._marks
        if commit is None or not self._watermark.span:
            return None
        while len(marks) > 1 and marks[1].offset <= commit:
            marks.popleft()
        return marks[0] if marks else None
