"""A flow with a long backlog that rests, on the embedded log: it delays only itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hookline.event import FlowId
from hookline.log import Log, Record
from hookline.log.sqlite import open_log
from hookline.metrics import Metrics
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from services.executor.journal import Ended, Finish, Journal, Journals
from services.executor.lanes import HELD, Rest
from services.executor.serve import Executor, Limits, executing
from services.executor.tenure import Tenure
from tests.faults.looking import sqlite_file
from tests.waiting import until, until_asked

TOPICS = Topics.with_partitions(1)
HOT, NEIGHBOUR = b"hot", b"neighbour"
BACKLOG = 20_000
LIMITS = Limits(unfinished_per_partition=2_000, lane_events=200, commit_interval_s=0.01)


@dataclass(slots=True)
class Runs:
    """Executions that end at once, but for a flow that is held."""

    held: bool = True
    ended: list[int] = field(default_factory=list)
    neighbours: list[int] = field(default_factory=list)

    async def execute(
        self, journal: Journal, record: Record, finish: Finish, _: Tenure
    ) -> Rest | None:
        """Write its end down."""
        if record.key == HOT and self.held:
            return HELD
        (self.ended if record.key == HOT else self.neighbours).append(record.offset)
        event = event_pb2.Event(id=str(record.offset))
        how = Ended(execution_pb2.STATUS_COMPLETED, 0, 1)
        journal.write_ended(event, record, how, finish)
        return None


@asynccontextmanager
async def executor_on(log: Log, runs: Runs) -> AsyncIterator[Executor]:
    """An executor of all partitions while the block runs."""
    metrics = Metrics(None, None)
    journals = Journals(log, TOPICS, metrics)
    executor = Executor(log, TOPICS, runs, journals, metrics, limits=LIMITS)  # type: ignore[arg-type] # all that it is asked for
    async with executing(executor):
        yield executor


async def append(log: Log, key: bytes, count: int) -> list[int]:
    """Append events of a flow; gives their offsets."""
    appends = [log.append(TOPICS.events, key, b"x" * 100) for _ in range(count)]
    return [one.offset for one in await asyncio.gather(*appends)]


async def is_committed(directory: Path, offset: int) -> bool:
    """Whether the group has come so far."""
    with sqlite_file(directory, TOPICS) as file:
        return await file.commits() == [offset]


async def test_a_long_backlog_behind_a_held_event_costs_its_neighbours_nothing(
    tmp_path: Path,
) -> None:
    """It holds no memory and no commit; after a restart it goes on in its order, once."""
    runs = Runs()
    async with open_log(tmp_path, TOPICS.all) as log:
        hot = await append(log, HOT, BACKLOG)
        neighbours = await append(log, NEIGHBOUR, 100)
        async with executor_on(log, runs) as executor:
            await until(lambda: runs.neighbours == neighbours)
            await until(lambda: executor.unfinished == BACKLOG)
            await until(lambda: executor.parked == BACKLOG)
            end = neighbours[-1] + 1
            await until_asked(lambda: is_committed(tmp_path, end))

    async with open_log(tmp_path, TOPICS.all) as log:
        runs.held = False
        async with executor_on(log, runs) as executor:
            hot += await append(log, HOT, 100)
            await until(lambda: len(runs.ended) >= len(hot), 120.0)
            end = hot[-1] + 1
            await until_asked(lambda: is_committed(tmp_path, end))

    assert runs.ended == hot
    assert runs.neighbours == neighbours


async def test_a_lane_that_is_woken_reads_its_events_back_and_runs_them_in_order(
    tmp_path: Path,
) -> None:
    """With what comes meanwhile behind them."""
    runs = Runs()
    async with (
        open_log(tmp_path, TOPICS.all) as log,
        executor_on(log, runs) as executor,
    ):
        hot = await append(log, HOT, 1_000)
        await until(lambda: executor.parked == len(hot))
        runs.held = False
        executor.wake(FlowId(HOT.decode()))
        hot += await append(log, HOT, 1_000)
        await until(lambda: len(runs.ended) == len(hot))

    assert runs.ended == hot


async def test_a_flow_that_is_far_behind_leaves_its_neighbours_their_room(
    tmp_path: Path,
) -> None:
    """Its events are run in their order, though most were read twice."""
    runs = Runs(held=False)
    async with open_log(tmp_path, TOPICS.all) as log:
        hot = await append(log, HOT, 5_000)
        neighbours = await append(log, NEIGHBOUR, 10)
        async with executor_on(log, runs):
            await until(lambda: len(runs.ended) == len(hot))
            await until(lambda: len(runs.neighbours) == len(neighbours))
        async with executor_on(log, runs) as executor:
            await until(lambda: executor.unfinished == 0)

    assert runs.ended == hot
    assert runs.neighbours == neighbours
