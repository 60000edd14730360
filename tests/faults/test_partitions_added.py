"""Partitions are added to a topic meanwhile: nothing moves; the next start says so."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from kafka.admin import NewPartitions  # noqa: TID251 - the fault is done to the brokers

from tests.broker_answers import asking
from tests.instance_on_kafka import ONE
from tests.kafka_line import Line, assert_all_ran_in_order, line_on, under_load
from tests.processes import run

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(180)]


def add_partitions(line: Line) -> None:
    """One more than there should be."""
    events = line.topics.events
    with asking(line.kafka.servers[0]) as admin:
        admin.create_partitions(
            {line.kafka.name_of(events.name): NewPartitions(events.partitions + 1)}
        )


async def test_order_holds_when_partitions_are_added(
    kafka_servers: tuple[str, ...], tmp_path: Path
) -> None:
    """Flows stay where they are; a service that starts is refused, with the sentence."""
    async with line_on(
        kafka_servers, tmp_path, flows=10, partitions=4, durability=ONE
    ) as line:
        await line.executor()
        async with under_load(line, 100) as load:
            await load.until_more(200)
            await asyncio.to_thread(add_partitions, line)
            await load.until_more(400)

        code, _, err = await run("executor", environment=line.environment)
        # Whoever only looks is refused, too, unless told the new number.
        more = replace(line.topics.events, partitions=line.topics.events.partitions + 1)
        line.topics = replace(line.topics, events=more)
        await assert_all_ran_in_order(line, load)

    assert not load.refused
    assert code == 78
    assert "HOOKLINE_LOG__PARTITIONS=5" in err
