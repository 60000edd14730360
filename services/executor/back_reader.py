"""Stop 6, again: reads the records of parked lanes back from the log when they are due.

One for a partition. A sweep takes the next few offsets of all lanes that are due, and reads
them in ranges: what lies close together is read together. A lane takes a record only if it
is its next one, so that whatever happens meanwhile nothing is taken twice, out of its order
or not at all. What cannot be read holds its lane, and no other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from hookline.errors import Error, Unavailable
from hookline.log import Record
from hookline.telemetry import get_logger
from services.executor.lane import Lane

Read = Callable[[int, int], AsyncIterator[Sequence[Record]]]
SWEEP: Final = 1_000
# What lies between is read, too, and costs less than another read does.
GAP: Final = 200
LONGEST_DELAY_S: Final = 60.0
logger = get_logger(__name__)


class Loads(Protocol):
    """The lanes, as their back-reader sees them."""

    async def wait_for_memory(self) -> None:
        """Return when records may be read back."""
        ...

    def wants_more(self, lane: Lane) -> bool:
        """Whether records of a lane are to be read back now."""
        ...

    def load_back(self, lane: Lane, record: Record) -> bool:
        """Take a record, if it is the lane's next one; tells whether it was taken."""
        ...

    def delay(self, lane: Lane, seconds: float) -> None:
        """Leave a lane alone for a while, if nothing of it runs."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether nothing more has room now."""
        ...


@dataclass(slots=True)
class Range:
    """Offsets that are read at once, and whose they are."""

    start: int
    end: int
    lanes: dict[int, Lane] = field(default_factory=dict)


class BackReader:
    """Reads while any lane is due; there is no task while none is."""

    def __init__(self, read: Read, lanes: Loads, tasks: asyncio.TaskGroup) -> None:
        self._read = read
        self._lanes = lanes
        self._tasks = tasks
        self._due: dict[Lane, None] = {}
        self._task: asyncio.Task[None] | None = None

    def ask(self, lane: Lane) -> None:
        """Read a lane's next records back."""
        self._due[lane] = None
        if self._task is None:
            self._task = self._tasks.create_task(self._run())

    def stop(self) -> None:
        """Read nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._due:
                await self._lanes.wait_for_memory()
                await self._sweep()
        finally:
            self._task = None

    async def _sweep(self) -> None:
        """Read what is due once, or as much of it as has room."""
        for one in self._ranges():
            try:
                await self._read_range(one)
            except Unavailable as error:
                self._delay(one, error)
            except Error as error:
                logger.exception("event.unreadable_now")
                self._delay(one, error)
            if self._lanes.is_full:
                break
        wanting = (lane for lane in self._due if self._lanes.wants_more(lane))
        self._due = dict.fromkeys(wanting)

    def _ranges(self) -> Iterator[Range]:
        """Of lanes that have failed before, each alone: their fault is only theirs."""
        lanes: dict[int, Lane] = {}
        alone: list[Range] = []
        for lane in self._due:
            if lane.failures:
                first = lane.next_parked(1)
                alone += [Range(one, one + 1, {one: lane}) for one in first]
            else:
                lanes |= dict.fromkeys(lane.next_parked(lane.want), lane)
            if len(lanes) + len(alone) >= SWEEP:
                break
        yield from in_ranges(lanes)
        yield from alone

    async def _read_range(self, one: Range) -> None:
        seen: set[int] = set()
        taken: set[Lane] = set()
        async for batch in self._read(one.start, one.end):
            for record in batch:
                lane = one.lanes.get(record.offset)
                if lane is None or lane.key != record.key:
                    continue
                seen.add(record.offset)
                if self._lanes.load_back(lane, record):
                    taken.add(lane)
            if self._lanes.is_full:
                break  # what is left is read when there is room
        else:
            self._miss(one, seen)
        for lane in taken:
            lane.failures = 0
            lane.want = min(2 * lane.want, SWEEP)

    def _miss(self, one: Range, seen: set[int]) -> None:
        """Hold the lanes whose next record should have been there."""
        for offset, lane in one.lanes.items():
            if offset in seen or not lane.is_next(offset):
                continue
            if lane.failures:
                logger.error(
                    "event.gone",
                    offset=offset,
                    key=lane.key.decode(errors="replace"),
                    outcome="its lane waits for it: restore the log",
                )
            self._delay_one(lane)

    def _delay(self, one: Range, error: Error) -> None:
        logger.warning("lane.read_delayed", offset=one.start, error=str(error))
        for lane in set(one.lanes.values()):
            self._delay_one(lane)

    def _delay_one(self, lane: Lane) -> None:
        """It asks again when what it has is done; where it has nothing, in a while."""
        lane.failures += 1
        self._due.pop(lane, None)
        self._lanes.delay(lane, min(2.0 ** min(lane.failures - 1, 10), LONGEST_DELAY_S))


def in_ranges(lanes: dict[int, Lane]) -> Iterator[Range]:
    """Offsets as ranges; those with little between them are in one."""
    one: Range | None = None
    for offset in sorted(lanes):
        if one is None or offset - one.end > GAP:
            if one is not None:
                yield one
            one = Range(offset, offset + 1)
        one.end = offset + 1
        one.lanes[offset] = lanes[offset]
    if one is not None:
        yield one
