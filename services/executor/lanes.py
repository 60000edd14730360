"""Stop 6: the records of one partition, sorted into lanes.

A lane is the events of one flow: strictly one after another, the next one starts when the
one before has ended. All lanes of a partition run at once, within a bound on executions.
Reading stops while too many events are unfinished.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from hookline.log import Record
from services.executor.watermark import Watermark

Finish = Callable[[], None]


class Execute(Protocol):
    """Runs one event to its end; `finish` is called when that end is durable.

    Raises nothing but asyncio.CancelledError, and that only at shutdown.
    """

    def __call__(self, record: Record, finish: Finish, /) -> Awaitable[None]:
        """Run the record's event."""
        ...


class Lanes:
    """The lanes of one partition while this executor owns it."""

    def __init__(
        self,
        execute: Execute,
        tasks: asyncio.TaskGroup,
        slots: asyncio.Semaphore,
        *,
        most_unfinished: int,
    ) -> None:
        self._execute = execute
        self._tasks = tasks
        self._slots = slots
        self._most_unfinished = most_unfinished
        self._lanes: dict[bytes, deque[Record]] = {}
        self._watermark = Watermark()
        self._progress = asyncio.Event()
        self._stopped = False
        self.on_progress: Callable[[], None] = lambda: None

    def add(self, records: Sequence[Record]) -> None:
        """Put records into their lanes, in the order they are in."""
        for record in records:
            self._watermark.open(record.offset)
            lane = self._lanes.get(record.key)
            if lane is None:
                lane = self._lanes[record.key] = deque((record,))
                self._tasks.create_task(self._run(record.key, lane))
            else:
                lane.append(record)

    async def wait_for_room(self) -> None:
        """Return when so few events are unfinished that more may be read."""
        while self._watermark.unfinished >= self._most_unfinished:
            self._progress.clear()
            await self._progress.wait()

    async def stop(self) -> None:
        """Start nothing more; return when what was running has ended."""
        self._stopped = True
        while self._lanes:
            self._progress.clear()
            await self._progress.wait()

    @property
    def unfinished(self) -> int:
        """How many events have not ended."""
        return self._watermark.unfinished

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
                    finish = partial(self._finish, lane[0].offset)
                    await self._execute(lane[0], finish)
                lane.popleft()
        finally:
            del self._lanes[key]
            self._progress.set()

    def _may_start(self) -> bool:
        return not self._stopped

    def _finish(self, offset: int) -> None:
        if self._watermark.finish(offset):
            self._progress.set()
            self.on_progress()
