"""Parked lanes on Kafka: read back by ranges, restored from the journal, in their order."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hookline.event import FlowId
from hookline.log import Log
from hookline.log.kafka import Cluster, Durability, create_topics, open_log
from services.executor.serve import GROUP
from tests.test_parking import HOT, NEIGHBOUR, TOPICS, Runs, append, executor_on
from tests.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]
ONE = Durability(1, 1)
BACKLOG = 3_000


@asynccontextmanager
async def log_on(cluster: Cluster) -> AsyncIterator[Log]:
    """The log, as a process of its own would open it."""
    async with open_log(cluster, TOPICS.all, durability=ONE) as log:
        yield log


async def test_a_held_flow_holds_nobody_and_goes_on_where_it_was(
    kafka_servers: tuple[str, ...],
) -> None:
    """Its neighbour runs; after a restart its events run in their order, each once."""
    cluster = Cluster(kafka_servers, prefix=f"{uuid.uuid4().hex}.")
    await create_topics(cluster, TOPICS.all, ONE, groups={GROUP: TOPICS.events})
    runs = Runs()
    async with log_on(cluster) as log:
        hot = await append(log, HOT, BACKLOG)
        neighbours = await append(log, NEIGHBOUR, 10)
        async with executor_on(log, runs) as executor:
            await until(lambda: runs.neighbours == neighbours, 60.0)
            await until(lambda: executor.parked == BACKLOG, 60.0)

    async with log_on(cluster) as log, executor_on(log, runs) as executor:
        await until(lambda: executor.parked == BACKLOG, 60.0)
        runs.held = False
        executor.wake(FlowId(HOT.decode()))
        hot += await append(log, HOT, 100)
        await until(lambda: len(runs.ended) >= len(hot), 60.0)
        await until(lambda: executor.unfinished == 0)

    assert runs.ended == hot
    assert runs.neighbours == neighbours
