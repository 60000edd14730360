"""What an executor has read and not ended is bounded for all its partitions together."""

import asyncio
from pathlib import Path

from hookline.log import Record, partition_of
from hookline.log.sqlite import open_log
from hookline.metrics import Metrics
from hookline.topics import Topics
from services.executor.journal import Finish, Journal, Journals
from services.executor.serve import Executor, Limits
from services.executor.tenure import Tenure
from tests.waiting import until

PARTITIONS = 4
SIZE = 100_000
EACH = 40


class Stuck:
    """Executions that do not end before the test does."""

    def __init__(self) -> None:
        self.began: set[int] = set()

    async def execute(
        self, _journal: Journal, record: Record, _finish: Finish, _tenure: Tenure
    ) -> None:
        self.began.add(record.partition)
        await asyncio.Event().wait()


async def test_partitions_share_the_bytes_that_an_executor_may_hold(
    tmp_path: Path,
) -> None:
    """Of 16 MB, a flow each record, no more is read than may be, and what comes at once."""
    topics = Topics.with_partitions(PARTITIONS)
    keys: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
    for n in range(1_000):
        keys[partition_of(b"%d" % n, PARTITIONS)].append(b"%d" % n)
    limits = Limits(unfinished_bytes=800_000, drain_s=0.0, handover_s=0.0)
    work = Stuck()
    async with open_log(tmp_path, topics.all) as log:
        for flows in keys.values():
            appends = [
                log.append(topics.events, key, b"x" * SIZE) for key in flows[:EACH]
            ]
            await asyncio.gather(*appends)
        metrics = Metrics(None, None)
        journals = Journals(log, topics, metrics)
        executor = Executor(log, topics, work, journals, metrics, limits=limits)  # type: ignore[arg-type] # all that it is asked for
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(executor.run())
            await until(lambda: len(work.began) == PARTITIONS)
            # They wait for room now, and would read on within a moment if there were any.
            for _ in range(1_000):
                await asyncio.sleep(0)
            unfinished = executor.unfinished
            running.cancel()

    # A share of two records each, and one batch, of at most 1.1 MB, that passes it.
    assert PARTITIONS <= unfinished <= PARTITIONS * (2 + 11)
