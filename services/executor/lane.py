"""Stop 6, one lane: the events of one flow that have not ended, and which of them are here.

All of them are a list of offsets, eight bytes each, in their order. Its beginning has been
loaded: these records are in memory, to be run, or have been run while their ends are not
durable. What stands behind `loaded` is parked: an offset, and nothing else. What stands up
to `passed` is in the journal as unfinished, whether it is parked or not.

    offsets    3     5     7     9     12
               ended |  loaded   |  parked
               ^ first           ^ next to load
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

from hookline.log import Record
from services.executor.tenure import Tenure

COMPACT: Final = 1024
PROBE: Final = 1
FIRST: Final = 16


class Rest(NamedTuple):
    """An event's place in its lane is kept until then; None: until a person decides."""

    due_at_us: int | None


HELD: Final = Rest(None)
Finish = Callable[[], None]


class Execute(Protocol):
    """Runs one event to its end; `finish` is called when that end is durable.

    Where it does not end now, tells how long it rests; then it is run again, to go on.
    Raises nothing but asyncio.CancelledError, and that only where the tenure ends.
    """

    def __call__(
        self, record: Record, finish: Finish, tenure: Tenure, /
    ) -> Awaitable[Rest | None]:
        """Run the record's event."""
        ...


class Lane:
    """One lane; whoever has it keeps `records` and `loaded` as the docstring says."""

    __slots__ = (
        "_begin",
        "_offsets",
        "failures",
        "key",
        "loaded",
        "near",
        "parked",
        "passed",
        "records",
        "rest",
        "resting_since_s",
        "size",
        "want",
        "woken",
    )

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._offsets = array("q")
        self._begin = 0
        # In memory, the first one perhaps running; and their bytes.
        self.records: deque[Record] = deque()
        self.size = 0
        # The highest offset that was put into `records`.
        self.loaded = -1
        # Whether there are events behind `loaded`: then what is read joins them.
        self.parked = False
        # The highest offset that the journal has as passed.
        self.passed = -1
        # While its first event rests: until when, and since when it does.
        self.rest: Rest | None = None
        self.resting_since_s: float | None = None
        # Its rest is over soon: what it goes on with may come into memory.
        self.near = False
        # Somebody has woken it while its first event ran.
        self.woken = False
        # How many records to read back at once; how often that has failed in a row.
        self.want = FIRST
        self.failures = 0

    def __len__(self) -> int:
        return len(self._offsets) - self._begin

    def append(self, offset: int) -> None:
        """An event has come; it is loaded or parked by whoever calls."""
        self._offsets.append(offset)

    def load(self, record: Record, size: int) -> None:
        """Its next event comes into memory."""
        self.records.append(record)
        self.size += size
        self.loaded = record.offset

    def restore(self, offsets: Sequence[int]) -> None:
        """Events that the commit has passed: all parked, all in the journal."""
        self._offsets.extend(offsets)
        self.parked = True
        self.passed = offsets[-1]
        self.want = PROBE

    def end(self, offset: int) -> None:
        """An event has ended durably: wherever it stands, it is gone."""
        offsets, begin = self._offsets, self._begin
        if begin < len(offsets) and offsets[begin] == offset:
            self._begin = begin = begin + 1
            self.parked = self.parked and begin < len(offsets)
            if begin >= COMPACT and 2 * begin >= len(offsets):
                del offsets[:begin]
                self._begin = 0
            return
        place = bisect_left(offsets, offset, begin)
        if place < len(offsets) and offsets[place] == offset:
            del offsets[place]
            self.parked = self.parked and bool(self.next_parked(1))

    def park(self, keep: int) -> list[Record]:
        """Have all records but the first few leave memory; gives those that left."""
        records = self.records
        left = [records.pop() for _ in range(len(records) - keep)]
        if left:
            self.loaded = left[-1].offset - 1
            self.parked = True
        return left

    def holds(self, offset: int) -> bool:
        """Whether an event is here and has not ended."""
        place = bisect_left(self._offsets, offset, self._begin)
        return place < len(self._offsets) and self._offsets[place] == offset

    @property
    def first(self) -> int:
        """The lowest offset that has not ended."""
        return self._offsets[self._begin]

    def next_parked(self, most: int) -> Sequence[int]:
        """The offsets to be read back first."""
        place = bisect_right(self._offsets, self.loaded, self._begin)
        return self._offsets[place : place + most]

    def is_next(self, offset: int) -> bool:
        """Whether it is the first of what is parked."""
        place = bisect_right(self._offsets, self.loaded, self._begin)
        return place < len(self._offsets) and self._offsets[place] == offset

    @property
    def parked_count(self) -> int:
        """How many of its events are offsets only."""
        if not self.parked:
            return 0
        place = bisect_right(self._offsets, self.loaded, self._begin)
        return len(self._offsets) - place

    @property
    def last(self) -> int:
        """The highest offset that has not ended."""
        return self._offsets[-1]

    def holds_before(self, offset: int) -> bool:
        """Whether it has something before an offset that the journal has not as passed."""
        place = bisect_right(self._offsets, self.passed, self._begin)
        return place < len(self._offsets) and self._offsets[place] < offset

    def unpassed(self) -> Sequence[int]:
        """What has not ended, and the journal does not have as passed."""
        return self._offsets[bisect_right(self._offsets, self.passed, self._begin) :]

    def passed_offsets(self) -> Sequence[int]:
        """What has not ended, and the journal has as passed."""
        end = bisect_right(self._offsets, self.passed, self._begin)
        return self._offsets[self._begin : end]
