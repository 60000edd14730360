"""Consumes the partitions that are this executor's, until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hookline.errors import Unavailable
from hookline.log import Assignment, Commit, Log
from hookline.metrics import Metrics
from hookline.telemetry import get_logger
from hookline.topics import Topics
from services.executor.execution import Executions
from services.executor.lag import Lag
from services.executor.lanes import Lanes
from services.executor.tenure import Tenure

GROUP = "executor"
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one executor.

    `unfinished_bytes` are shared out evenly among its partitions. What runs has `drain_s`
    to end when the process stops, and `handover_s` when its partition goes to another
    one.
    """

    concurrent_executions: int = 1000
    unfinished_per_partition: int = 10_000
    unfinished_bytes: int = 32 * 1024 * 1024
    commit_interval_s: float = 0.2
    drain_s: float = 5.0
    handover_s: float = 3.0


class Executor:
    """Runs the events of the partitions it is assigned."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        executions: Executions,
        metrics: Metrics,
        *,
        limits: Limits,
    ) -> None:
        self._log = log
        self._topic = topics.events
        self._executions = executions
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.concurrent_executions)
        self._lanes: set[Lanes] = set()
        metrics.unfinished.set_function(lambda: self.unfinished)
        metrics.partitions.set_function(lambda: len(self._lanes))
        self._lag = Lag(log, topics.events, metrics)

    async def run(self) -> None:
        """Take partitions as they are assigned, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._lag.follow())
            async for assignment in self._log.assignments(self._topic, GROUP):
                tasks.create_task(self._consume(assignment))
            following.cancel()

    @property
    def unfinished(self) -> int:
        """How many events are read, and have not ended."""
        return sum(lanes.unfinished for lanes in self._lanes)

    def _share_bytes(self) -> int:
        """What the unfinished events of each partition may hold."""
        # At least one: where nothing is unfinished there is room, whatever the limit.
        return max(1, self._limits.unfinished_bytes // max(1, len(self._lanes)))

    async def drain(self) -> None:
        """Start nothing more; wait, within the limit, for what is running.

        What waits for its next attempt is let go at once.
        """
        limit_s = self._limits.drain_s
        drained = await asyncio.gather(*(lanes.drain(limit_s) for lanes in self._lanes))
        if not all(drained):
            logger.info("executor.drained", outcome="cut short; events run again")

    async def _consume(self, assignment: Assignment) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._run_lanes(assignment, tasks)
        finally:
            assignment.release()

    async def _run_lanes(
        self, assignment: Assignment, tasks: asyncio.TaskGroup
    ) -> None:
        lanes = Lanes(
            self._executions.execute,
            tasks,
            self._slots,
            Tenure(assignment.owned),
            most_unfinished=self._limits.unfinished_per_partition,
            share_bytes=self._share_bytes,
        )
        self._lanes.add(lanes)
        committer = tasks.create_task(self._commit(assignment, lanes))
        stopper = tasks.create_task(_stop_at_end(assignment, lanes))
        try:
            with self._lag.counting(assignment, lambda: lanes.commit_offset):
                async for records in assignment.records():
                    lanes.add(records)
                    await lanes.wait_for_room()
            await lanes.drain(self._limits.handover_s if assignment.owned() else 0.0)
        finally:
            self._lanes.discard(lanes)
            stopper.cancel()
            committer.cancel()

    async def _commit(self, assignment: Assignment, lanes: Lanes) -> None:
        """Commit as the lanes go on; once more when it is over."""
        moved = asyncio.Event()
        lanes.on_progress = moved.set
        committed = None
        try:
            while True:
                await moved.wait()
                moved.clear()
                committed = await _commit_once(assignment, lanes, committed)
                await asyncio.sleep(self._limits.commit_interval_s)
                if committed != lanes.commit_offset:
                    moved.set()  # it was not kept: once more, also where nothing moves
        finally:
            await asyncio.shield(_commit_once(assignment, lanes, committed))


async def _stop_at_end(assignment: Assignment, lanes: Lanes) -> None:
    """Start nothing more from the moment on at which the partition is to be given away."""
    await assignment.wait_ended()
    lanes.stop()


async def _commit_once(
    assignment: Assignment, lanes: Lanes, committed: int | None
) -> int | None:
    offset = lanes.commit_offset
    if offset is None or offset == committed or not assignment.owned():
        return committed
    try:
        await assignment.commit(Commit(offset))
    except Unavailable as error:
        logger.warning("commit.delayed", error=str(error))
        return committed
    return offset


@asynccontextmanager
async def executing(executor: Executor) -> AsyncIterator[None]:
    """Run an executor while the block runs, then drain it."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(executor.run())
        try:
            yield
        finally:
            await executor.drain()
            running.cancel()
