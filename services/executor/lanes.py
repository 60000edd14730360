"""Stop 6: the records of one partition, sorted into lanes.

A lane is the events of one flow: strictly one after another, the next one starts when the
one before has ended. All lanes of a partition run at once, within a bound on executions.
Reading stops while too many events are unfinished.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from hookline.log import Record
from services.executor.tenure import Tenure
from services.executor.watermark import Watermark

Finish = Callable[[], None]


class Rest(NamedTuple):
    """An event's place in its lane is kept until then; None: until a person decides."""

    due_at_us: int | None


HELD: Final = Rest(None)


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


class Lanes:
    """The lanes of one partition while this executor owns it."""

    def __init__(
        self,
        execute: Execute,
        tasks: asyncio.TaskGroup,
        slots: asyncio.Semaphore,
        tenure: Tenure,
        *,
        most_unfinished: int,
        share_bytes: Callable[[], int],
        take_ended: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._execute = execute
        self._take_ended = take_ended
        self._tasks = tasks
        self._slots = slots
        self._most_unfinished = most_unfinished
        # Of what the whole executor may hold; it changes with the partitions it has.
        self._share_bytes = share_bytes
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._tenure = tenure
        self._lanes: dict[bytes, deque[Record]] = {}
        # Of lanes whose first event rests.
        self._woken: dict[bytes, asyncio.Event] = {}
        self._running: set[asyncio.Task[None]] = set()
        # Started, and their ends not yet durable.
        self._started: set[int] = set()
        self._watermark = Watermark()
        self._progress = asyncio.Event()
        self.on_progress: Callable[[], None] = lambda: None

    def add(self, records: Sequence[Record]) -> None:
        """Put records into their lanes, in the order they are in.

        What the journal has as ended, though the commit stands before it, is passed over.
        """
        for record in records:
            self._watermark.open(record.offset)
            if self._take_ended(record.offset):
                self._finish(record.offset)
                continue
            size = self._sizes[record.offset] = len(record.value or b"")
            self._bytes += size
            lane = self._lanes.get(record.key)
            if lane is None:
                lane = self._lanes[record.key] = deque((record,))
                task = self._tasks.create_task(self._run(record.key, lane))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            else:
                lane.append(record)

    async def wait_for_room(self) -> None:
        """Return when so few events are unfinished that more may be read, or at the end."""
        while self._is_full() and not self._tenure.ended:
            self._progress.clear()
            await self._progress.wait()

    def _is_full(self) -> bool:
        return (
            self._watermark.unfinished >= self._most_unfinished
            or self._bytes >= self._share_bytes()
        )

    def wake(self, key: bytes) -> None:
        """Have the first event of a lane run again now, if it rests; it may rest anew."""
        if woken := self._woken.get(key):
            woken.set()

    def stop(self) -> None:
        """Start nothing more."""
        self._tenure.end()
        for woken in self._woken.values():
            woken.set()
        self._progress.set()

    async def drain(self, limit_s: float) -> bool:
        """Stop; return when the ends of what was running are durable, or cut it short.

        Tells whether all have ended. What has not is abandoned, to run again.
        """
        self.stop()
        try:
            async with asyncio.timeout(limit_s):
                while self._lanes or self._started:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            for task in self._running:
                task.cancel()
            return False
        return True

    def holds(self, _key: bytes, offset: int) -> bool:
        """Whether an event of a lane has been read, and its end is not durable."""
        return self._watermark.is_open(offset)

    @property
    def read_to(self) -> int:
        """Events from here on have not been read; 0 where none has been."""
        return self._watermark.read_to

    @property
    def unfinished(self) -> int:
        """How many events have not ended."""
        return self._watermark.unfinished

    @property
    def ended_above_commit(self) -> frozenset[int]:
        """What has ended after the lowest unfinished event."""
        return self._watermark.finished

    @property
    def commit_offset(self) -> int | None:
        """Everything before this offset has ended and is written down."""
        return self._watermark.commit_offset

    async def _run(self, key: bytes, lane: deque[Record]) -> None:
        try:
            while lane and self._may_start():
                async with self._slots:
                    if not self._may_start():
                        break  # told to stop while waiting for a slot
                    rest = await self._execute_first(lane[0])
                if rest is None:
                    lane.popleft()
                else:
                    await self._rest(key, rest)  # without a slot
        finally:
            del self._lanes[key]
            self._progress.set()

    def _may_start(self) -> bool:
        return not self._tenure.ended

    async def _rest(self, key: bytes, rest: Rest) -> None:
        """Return when the rest is over, when the lane is woken, or at the end."""
        woken = self._woken[key] = asyncio.Event()
        try:
            async with asyncio.timeout(_seconds_to(rest.due_at_us)):
                if self._may_start():
                    await woken.wait()
        except TimeoutError:
            return
        finally:
            del self._woken[key]

    async def _execute_first(self, record: Record) -> Rest | None:
        self._started.add(record.offset)
        finish = partial(self._finish, record.offset)
        try:
            rest = await self._execute(record, finish, self._tenure)
        except asyncio.CancelledError:
            self._started.discard(record.offset)
            raise
        if rest is not None:
            self._started.discard(record.offset)
        return rest

    def _finish(self, offset: int) -> None:
        self._started.discard(offset)
        self._bytes -= self._sizes.pop(offset, 0)
        if self._watermark.finish(offset):
            self._progress.set()
            self.on_progress()
        elif not self._started or self._bytes < self._share_bytes():
            self._progress.set()


def _seconds_to(due_at_us: int | None) -> float | None:
    return None if due_at_us is None else max(0.0, due_at_us / 1_000_000 - time.time())
