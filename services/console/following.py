"""Fills the index by following the log's topics; a reader more, in no group.

Records are read on the loop, and made into rows on a thread of the index's own. A round
reads what is in the topics at its beginning; there is one every half second, and at once
where somebody asks what has just happened.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from hookline.errors import Error, Unavailable
from hookline.log import Bounds, Log
from hookline.telemetry import get_logger
from hookline.topics import Topics
from services.console.filling import Filling, Read
from services.console.index_file import IndexFile, Key

PAUSE_S: Final = 0.5
# Between rounds that others ask for.
LEAST_PAUSE_S: Final = 0.02
AGAIN_S: Final = 2.0
MOST_WAIT_S: Final = 2.0
BATCH_RECORDS: Final = 2_000
BATCH_BYTES: Final = 8 * 1024 * 1024
MOST_A_ROUND: Final = 20_000
FORGET_ROWS: Final = 1_000
logger = get_logger(__name__)


class Following:
    """Reads `events`, `executions` and `dead_letters` into the index.

    `behind` is how many records it has yet to read, as of the last round.
    """

    def __init__(self, log: Log, topics: Topics, index: IndexFile) -> None:
        self._log = log
        self._index = index
        self._topics = (topics.events, topics.executions, topics.dead_letters)
        self._events, self._executions, self._letters = self._topics
        self._thread = ThreadPoolExecutor(1, "console-index")
        self._filling = Filling(index, topics)
        self._starts: dict[Key, int] = {}
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self.behind = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            try:
                await self._begin()
            except Error as error:
                logger.error(  # noqa: TRY400 - the words say it all
                    "index.damaged",
                    error=str(error),
                    hint="stop, delete console.sqlite in the data directory, and start: "
                    "it is made anew from the log; until then lists are out of date",
                )
                return
            while True:
                pause = PAUSE_S
                try:
                    await self._round()
                except Error as error:
                    # Whatever it is, accepting and running events goes on without it.
                    logger.warning("index.delayed", error=str(error))
                    pause = AGAIN_S
                if not self.behind or pause == AGAIN_S:
                    await self._wait_asked(pause)
                self._asked.clear()
        finally:
            self._thread.shutdown()

    async def wait_current(self) -> None:
        """Return when what is in the log now is in the index, or after two seconds."""
        round_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(round_ended)
        self._asked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(MOST_WAIT_S):
                await round_ended

    async def _begin(self) -> None:
        """Go on from where it was; anew where the log is shorter than what was read."""
        positions = await self._in_thread(self._filling.begin)
        while True:
            try:
                bounds = await self._bounds()
                break
            except Unavailable as error:
                logger.warning("index.delayed", error=str(error))
                await asyncio.sleep(AGAIN_S)
        if any(at.next > bounds[key].end for key, at in positions.items()):
            logger.warning("index.rebuilt", reason="the log is another one")
            await self._in_thread(self._filling.begin_anew)

    async def _wait_asked(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()
            await asyncio.sleep(LEAST_PAUSE_S)

    async def _round(self) -> None:
        """Read what is there now; at most so much of each partition."""
        waiting, self._waiting = self._waiting, []
        try:
            bounds = await self._bounds()
            self.behind = sum(
                max(0, one.end - self._next(key, one)) for key, one in bounds.items()
            )
            async for read in self._read(bounds):
                await self._take(read, bounds)
            await self._forget(bounds)
        finally:
            for one in waiting:
                if not one.done():
                    one.set_result(None)

    async def _bounds(self) -> dict[Key, Bounds]:
        keys = [
            (topic, partition)
            for topic in self._topics
            for partition in range(topic.partitions)
        ]
        found = await asyncio.gather(*(self._log.bounds(*key) for key in keys))
        return {
            (topic.name, partition): bounds
            for (topic, partition), bounds in zip(keys, found, strict=True)
        }

    def _next(self, key: Key, bounds: Bounds) -> int:
        return max(self._filling.next(key), bounds.start)

    async def _read(self, bounds: Mapping[Key, Bounds]) -> AsyncIterator[Read]:
        """What there is, in parts; an event and its end are mostly in the same."""
        read: Read = []
        records = size = 0
        for topic in self._topics:
            for partition in range(topic.partitions):
                key = topic.name, partition
                start = self._next(key, bounds[key])
                end = min(bounds[key].end, start + MOST_A_ROUND)
                if start >= end:
                    continue
                async for batch in self._log.read(topic, partition, start, end):
                    read.append((key, batch))
                    records += len(batch)
                    size += sum(len(record.value or b"") for record in batch)
                    if records >= BATCH_RECORDS or size >= BATCH_BYTES:
                        yield read
                        read, records, size = [], 0, 0
        if read:
            yield read

    async def _take(self, read: Read, bounds: Mapping[Key, Bounds]) -> None:
        starts = {
            partition: bounds[self._events.name, partition].start
            for partition in range(self._events.partitions)
        }
        await self._in_thread(self._filling.take, read, starts)
        self.behind -= min(self.behind, sum(len(batch) for _, batch in read))

    async def _forget(self, bounds: Mapping[Key, Bounds]) -> None:
        """Forget rows of what the log has forgotten."""
        for key, (start, _) in bounds.items():
            topic, partition = key
            if start <= self._starts.get(key, 0) or topic == self._executions.name:
                continue
            if topic == self._letters.name:
                await self._in_thread(self._index.forget_letters, partition, start)
            else:
                forget = self._index.forget_events
                while await self._in_thread(forget, partition, start, FORGET_ROWS):
                    pass
            self._starts[key] = start

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)
