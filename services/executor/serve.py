"""Consumes the partitions that are this executor's, until it is told to stop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from hookline.event import FlowId
from hookline.log import Assignment, Log
from hookline.metrics import Metrics
from hookline.telemetry import get_logger
from hookline.topics import Topics
from services.executor.commits import Commits, Pace
from services.executor.controlling import Controls
from services.executor.execution import Executions
from services.executor.journal import Journal, Journals
from services.executor.keys import MOST_KEYS
from services.executor.lag import Lag
from services.executor.lanes import Bounds, Lanes
from services.executor.restore import Restored, Restorer, while_owned
from services.executor.tenure import Tenure
from services.executor.trimming import Trims

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
    checkpoint_records: int = 10_000
    checkpoint_interval_s: float = 60.0
    dedupe_keys: int = MOST_KEYS
    lane_events: int = 1_000
    park_after_s: float = 5.0
    drain_s: float = 5.0
    handover_s: float = 3.0


class Executor:
    """Runs the events of the partitions it is assigned."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        executions: Executions,
        journals: Journals,
        metrics: Metrics,
        *,
        limits: Limits,
        trims: Trims | None = None,
    ) -> None:
        self._log = log
        self._trims = trims
        self._topic = topics.events
        self._executions = executions
        self._journals = journals
        self._restorer = Restorer(
            log, topics.executions, topics.events, limits.dedupe_keys
        )
        self._limits = limits
        self._pace = Pace(
            limits.commit_interval_s,
            limits.checkpoint_records,
            limits.checkpoint_interval_s,
        )
        self._bounds = Bounds(
            self._share_bytes,
            limits.unfinished_per_partition,
            limits.lane_events,
            limits.park_after_s,
        )
        self._slots = asyncio.Semaphore(limits.concurrent_executions)
        self._lanes: set[Lanes] = set()
        self._draining = False
        metrics.unfinished.set_function(lambda: self.unfinished)
        metrics.parked.set_function(lambda: self.parked)
        metrics.commit_age.set_function(lambda: self.commit_age_s)
        metrics.partitions.set_function(lambda: len(self._lanes))
        self._lag = Lag(log, topics.events, metrics)
        self._controls = Controls(log, topics)

    async def run(self) -> None:
        """Take partitions as they are assigned, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._lag.follow())
            looking = tasks.create_task(self._controls.look())
            async for assignment in self._log.assignments(self._topic, GROUP):
                tasks.create_task(self._consume(assignment))
            following.cancel()
            looking.cancel()

    @property
    def unfinished(self) -> int:
        """How many events are read, parked ones with them, and have not ended."""
        return sum(lanes.unfinished for lanes in self._lanes)

    @property
    def parked(self) -> int:
        """How many of them are not in memory."""
        return sum(lanes.parked for lanes in self._lanes)

    @property
    def commit_age_s(self) -> float:
        """How old the oldest event is that a commit of its partitions waits for."""
        now_s = time.time()
        ages = (lanes.passing.held.age_s(now_s) for lanes in self._lanes)
        return max(ages, default=0.0)

    def _share_bytes(self) -> int:
        """What the unfinished events of each partition may hold."""
        # At least one: where nothing is unfinished there is room, whatever the limit.
        return max(1, self._limits.unfinished_bytes // max(1, len(self._lanes)))

    def wake(self, flow_id: FlowId) -> None:
        """Have the first event of a flow, if it rests here, look again now."""
        for lanes in self._lanes:
            lanes.wake(flow_id.encode())

    async def drain(self) -> None:
        """Start nothing more; wait, within the limit, for what is running.

        What waits for its next attempt is let go at once.
        """
        self._draining = True
        limit_s = self._limits.drain_s
        drained = await asyncio.gather(*(lanes.drain(limit_s) for lanes in self._lanes))
        if not all(drained):
            logger.info(
                "executor.drained",
                outcome="cut short; what ran goes on at the next start",
            )

    async def _consume(self, assignment: Assignment) -> None:
        try:
            restored = await while_owned(assignment, self._restorer.restore(assignment))
            if restored is None or self._draining:
                return
            journal = self._journals.under(restored)
            async with asyncio.TaskGroup() as tasks:
                await self._run_lanes(assignment, journal, restored, tasks)
        finally:
            assignment.release()

    async def _run_lanes(
        self,
        assignment: Assignment,
        journal: Journal,
        restored: Restored,
        tasks: asyncio.TaskGroup,
    ) -> None:
        tenure = Tenure(assignment.owned)
        lanes = Lanes(
            partial(self._executions.execute, journal),
            partial(self._log.read, self._topic, assignment.partition),
            tasks,
            self._slots,
            tenure,
            bounds=self._bounds,
            take_ended=journal.state.take_ended,
        )
        lanes.restore(journal.state.take_passed())
        self._lanes.add(lanes)
        commits = Commits(assignment, lanes, journal, restored.bookmark, self._pace)
        commits.lowest_needed = lambda: lanes.lowest_unfinished
        committer = tasks.create_task(commits.run())
        stopper = tasks.create_task(_stop_at_end(assignment, lanes))
        trimmer = tasks.create_task(self._trim(assignment, commits))
        try:
            partition = assignment.partition
            with self._lag.counting(assignment, lambda: lanes.commit_offset):
                async with self._controls.carrying_out(
                    partition, journal, lanes, tenure, tasks
                ):
                    lanes.read_back()
                    async for records in assignment.records():
                        journal.keys.read(records)
                        lanes.add(records)
                        await lanes.wait_for_room()
            await lanes.drain(self._limits.handover_s if assignment.owned() else 0.0)
        finally:
            self._lanes.discard(lanes)
            lanes.stop()
            stopper.cancel()
            trimmer.cancel()
            committer.cancel()

    async def _trim(self, assignment: Assignment, commits: Commits) -> None:
        if self._trims is not None:
            await self._trims.run(
                assignment.partition, lambda: commits.kept, assignment.owned
            )


async def _stop_at_end(assignment: Assignment, lanes: Lanes) -> None:
    """Start nothing more from the moment on at which the partition is to be given away."""
    await assignment.wait_ended()
    lanes.stop()


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
