"""How far the executor is behind the log, for those who operate it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from hookline.errors import Unavailable
from hookline.log import Assignment, Log, Topic
from hookline.metrics import ExecutorMetrics

LOOK_S: Final = 2.0
Reached = Callable[[], int | None]


class Lag:
    """Counts the events of its partitions that commits have not come past, read or not.

    What a commit has passed is among the unfinished ones, and is none of these.

    It is asked of the log now and then; while the log cannot be asked it stays as it was.
    """

    def __init__(self, log: Log, topic: Topic, metrics: ExecutorMetrics) -> None:
        self._log = log
        self._topic = topic
        self._reached_by_partition: dict[int, Reached] = {}
        self._behind = 0
        metrics.lag.set_function(lambda: self._behind)

    @contextmanager
    def counting(
        self, assignment: Assignment, commit_offset: Reached
    ) -> Iterator[None]:
        """Count a partition while the block runs, from what was reached in it."""
        committed = assignment.committed

        def reached() -> int | None:
            offset = commit_offset()
            return committed.offset if offset is None and committed else offset

        self._reached_by_partition[assignment.partition] = reached
        try:
            yield
        finally:
            if self._reached_by_partition.get(assignment.partition) is reached:
                del self._reached_by_partition[assignment.partition]

    async def follow(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            with suppress(Unavailable):
                self._behind = await self._count()
            await asyncio.sleep(LOOK_S)

    async def _count(self) -> int:
        partitions = dict(self._reached_by_partition)
        bounds = await asyncio.gather(
            *(self._log.bounds(self._topic, partition) for partition in partitions)
        )
        behind = 0
        for (start, end), reached in zip(bounds, partitions.values(), strict=True):
            offset = reached()
            behind += max(0, end - max(start, start if offset is None else offset))
        return behind
