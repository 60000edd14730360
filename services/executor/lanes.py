"""Stop 6: the records of one partition, sorted into lanes.

A lane is the events of one flow: strictly one after another, the next one starts when the
one before has ended. All lanes of a partition run at once, within a bound on executions.
A lane that rests for long, or is far behind, is parked: its records leave memory (the
first stays where there is room and it is due soon), the commit passes them when the
journal has their offsets, and they are read back before it goes on. So reading waits only
for what is in memory and runs, never for one lane.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hookline.log import Record
from services.executor.back_reader import BackReader, Read
from services.executor.lane import HELD, PROBE, Execute, Finish, Lane, Rest
from services.executor.memory import Bounds, Memory
from services.executor.passing import Passed
from services.executor.resting import Rests
from services.executor.tenure import Tenure

__all__ = ["HELD", "Bounds", "Execute", "Finish", "Lanes", "Rest"]


class Lanes:
    """The lanes of one partition while this executor owns it."""

    def __init__(
        self,
        execute: Execute,
        read: Read,
        tasks: asyncio.TaskGroup,
        slots: asyncio.Semaphore,
        tenure: Tenure,
        *,
        bounds: Bounds,
        take_ended: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._execute = execute
        self._take_ended = take_ended
        self._tasks = tasks
        self._slots = slots
        self._tenure = tenure
        self._lanes: dict[bytes, Lane] = {}
        self._running: dict[Lane, asyncio.Task[None]] = {}
        # Started, and their ends not yet durable.
        self._started: set[int] = set()
        self._progress = asyncio.Event()
        self._unfinished = 0
        self._most_behind = 2 * bounds.events
        self._memory = Memory(bounds, self._running)
        # Told in the journal before the commit goes past it.
        self.passing = Passed(self._lanes, bounds.events, self._progress.set)
        self._rests = Rests(self._go_on, self._ask, bounds.park_after_s)
        self._back_reader = BackReader(read, self, tasks)
        self.on_progress: Callable[[], None] = lambda: None

    def restore(self, passed: Mapping[bytes, Sequence[int]]) -> None:
        """Begin with what the commit has passed; `read_back` has it run."""
        for key, offsets in passed.items():
            lane = self._lanes[key] = Lane(key)
            lane.restore(offsets)
            self._unfinished += len(offsets)
            self.passing.count += len(offsets)

    def read_back(self) -> None:
        """Read what is parked back from here on."""
        for lane in self._lanes.values():
            self._ask(lane)

    def add(self, records: Sequence[Record]) -> None:
        """Put records into their lanes, in the order they are in.

        Here each record is seen first, and once: what is read back for a parked lane does
        not pass here again. What the journal has as ended, though the commit stands before
        it, is passed over.
        """
        passing, memory = self.passing, self._memory
        if records:
            passing.held.read(records[0])
        for record in records:
            passing.watermark.open(record.offset)
            if self._take_ended(record.offset):
                if passing.watermark.finish(record.offset):
                    self._tell()
                continue
            lane = self._lanes.get(record.key)
            if lane is None:
                lane = self._lanes[record.key] = Lane(record.key)
            lane.append(record.offset)
            self._unfinished += 1
            if not lane.parked and memory.has_room(lane):
                self._load(lane, record)
            else:
                lane.parked = True
                passing.parked.add(lane)
        if passing.parked or passing.is_behind:
            self.on_progress()

    async def wait_for_room(self) -> None:
        """Return when more may be read, or at the end.

        What is in memory is bounded, and how far the commit may stand behind.
        """
        if self.is_full:
            self._shrink()
        while self._is_too_much() and not self._tenure.ended:
            await self._wait()

    def _is_too_much(self) -> bool:
        return self.is_full or self.passing.watermark.span >= self._most_behind

    async def wait_for_memory(self) -> None:
        """Return when records may be read back; what rests makes room for what is due."""
        self._park_resting()
        while self.is_full:
            await self._wait()

    def _park_resting(self) -> None:
        """While all is full, have what rests leave memory; last what is due soon."""
        for near in (False, True):
            for lane in self._lanes.values():
                if not self.is_full:
                    return
                if lane.rest is not None and lane.near is near and lane.records:
                    self._park(lane)

    async def _wait(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    @property
    def is_full(self) -> bool:
        """Whether as much is in memory as may be."""
        return self._memory.is_full

    def wake(self, key: bytes) -> None:
        """Have the first event of a lane run again now, if it rests; it may rest anew.

        Where it runs at this moment and is about to rest, it runs again, too.
        """
        lane = self._lanes.get(key)
        if lane is None:
            return
        if lane.rest is not None:
            self._rests.end(lane)
        elif lane in self._running:
            lane.woken = True

    def stop(self) -> None:
        """Start nothing more."""
        self._tenure.end()
        self._back_reader.stop()
        self._rests.stop()
        self._progress.set()

    async def drain(self, limit_s: float) -> bool:
        """Stop; return when the ends of what was running are durable, or cut it short.

        Tells whether all have ended. What has not is abandoned, to run again; what rests
        or is parked is let go at once.
        """
        self.stop()
        try:
            async with asyncio.timeout(limit_s):
                while self._running or self._started:
                    await self._wait()
        except TimeoutError:
            for task in self._running.values():
                task.cancel()
            return False
        return True

    def holds(self, key: bytes, offset: int) -> bool:
        """Whether an event of a lane is known here, and its end is not durable."""
        lane = self._lanes.get(key)
        return lane is not None and lane.holds(offset)

    @property
    def read_to(self) -> int:
        """Events from here on have not been read; 0 where none has been."""
        return self.passing.watermark.read_to

    @property
    def unfinished(self) -> int:
        """How many events have been read, or passed by a commit, and have not ended."""
        return self._unfinished

    @property
    def parked(self) -> int:
        """How many of them are not in memory."""
        return sum(lane.parked_count for lane in self._lanes.values())

    @property
    def commit_offset(self) -> int | None:
        """Everything before it has ended or is passed, and that is written down."""
        return self.passing.watermark.commit_offset

    @property
    def lowest_unfinished(self) -> int | None:
        """The lowest offset that a lane still needs; None where none needs any."""
        found = (lane.first for lane in self._lanes.values() if len(lane))
        return min(found, default=None)

    def wants_more(self, lane: Lane) -> bool:
        """Whether records of a parked lane are to be read back now."""
        if not self._may_load(lane) or not lane.parked_count:
            return False
        return self._memory.is_half_empty(lane)

    def _may_load(self, lane: Lane) -> bool:
        """Whether a lane may have one more record: while it rests only its first, soon."""
        rests_on = lane.rest is not None and not (lane.near and not lane.records)
        return not rests_on and not self._tenure.ended

    def load_back(self, lane: Lane, record: Record) -> bool:
        """Take a record that was read back, if it is the lane's next one and has room.

        With the last of what is parked the lane is as any other again: what the main
        reader brings from here on follows in memory. Tells whether it was taken.
        """
        if not self._may_load(lane) or not lane.is_next(record.offset):
            return False
        if not self._memory.has_room(lane):
            return False
        lane.parked = record.offset != lane.last
        self._load(lane, record)
        return True

    def delay(self, lane: Lane, seconds: float) -> None:
        """Leave a lane alone that cannot be read back, if nothing of it runs."""
        if lane.rest is None and lane not in self._running and not self._tenure.ended:
            self._rests.delay(lane, seconds)

    def _load(self, lane: Lane, record: Record) -> None:
        self._memory.take(lane, record)
        if lane.rest is None and lane not in self._running:
            self._start(lane)

    def _shrink(self) -> None:
        """Take from memory what lanes have there beyond their part."""
        for lane in self._lanes.values():
            keep = self._memory.keep(lane)
            if keep < len(lane.records):
                self._park(lane, keep)

    def _park(self, lane: Lane, keep: int = 0) -> None:
        """Have its records leave memory, but for the first few."""
        for record in lane.park(keep):
            self._memory.leave(lane, record.offset)
        self.passing.parked.add(lane)
        self._tell()

    def _start(self, lane: Lane) -> None:
        self._running[lane] = self._tasks.create_task(self._run(lane))

    async def _run(self, lane: Lane) -> None:
        try:
            while lane.records and lane.rest is None and self._may_start():
                async with self._slots:
                    if not self._may_start():
                        break  # told to stop while waiting for a slot
                    rest = await self._execute_first(lane)
                if rest is not None:
                    self._rest(lane, rest)  # without a slot
                    continue
                lane.records.popleft()
                lane.resting_since_s = None
                self._ask(lane)
        finally:
            del self._running[lane]
            self._forget_if_empty(lane)
            self._progress.set()

    def _may_start(self) -> bool:
        return not self._tenure.ended

    async def _execute_first(self, lane: Lane) -> Rest | None:
        record = lane.records[0]
        lane.woken = False
        self._started.add(record.offset)
        finish = partial(self._finish, lane, record.offset)
        try:
            rest = await self._execute(record, finish, self._tenure)
        except asyncio.CancelledError:
            self._started.discard(record.offset)
            raise
        if rest is not None:
            self._started.discard(record.offset)
        return rest

    def _rest(self, lane: Lane, rest: Rest) -> None:
        """Its first event rests; for longer than a while, its records leave memory.

        Where there is room for it, and it is due soon, the first one stays.
        """
        if not lane.woken and self._rests.begin(lane, rest):
            stays = self._rests.is_soon(rest) and self._memory.is_half_free
            self._park(lane, keep=1 if stays else 0)
            lane.parked = True  # what comes meanwhile does not enter memory
            lane.want = PROBE

    def _go_on(self, lane: Lane) -> None:
        """Its rest is over."""
        if self._tenure.ended:
            return
        if lane.records:
            self._start(lane)
        else:
            self._ask(lane)

    def _ask(self, lane: Lane) -> None:
        if lane.parked and self.wants_more(lane):
            self._back_reader.ask(lane)

    def _finish(self, lane: Lane, offset: int) -> None:
        self._started.discard(offset)
        self._memory.leave(lane, offset)
        lane.end(offset)
        self._unfinished -= 1
        if not self._forget_if_empty(lane):
            self._ask(lane)
        if self.passing.finish(lane, offset):
            self._tell()
        else:
            self._progress.set()

    def _forget_if_empty(self, lane: Lane) -> bool:
        if len(lane) or lane in self._running:
            return False
        if self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
        return True

    def _tell(self) -> None:
        self._progress.set()
        self.on_progress()
