"""Steps that are longer than what they are given: at a stop, and when executors join."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from hookline.log import partition_of
from services.executor.serve import GROUP
from tests.broker_answers import asking
from tests.caller import call
from tests.faults.kafka_nemesis import OWNED
from tests.instance import JSON
from tests.instance_on_kafka import ONE
from tests.kafka_line import Line, line_on
from tests.other_system import Other, another_system, calling
from tests.processes import up
from tests.waiting import until, until_asked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
# A stop is over in this time, whatever runs: then systems kill what they stop.
STOPPED_S = 25
DRAIN = {"HOOKLINE_EXECUTOR__DRAIN_S": "1"}
STEPS = ("first", "second", "third")
# One in each of two partitions.
FLOWS = tuple(
    next(f"flow-{n}" for n in range(9) if partition_of(b"flow-%d" % n, 2) == partition)
    for partition in range(2)
)


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    """Its second step hangs until it is let go."""
    async with another_system() as other:
        other.hangs = lambda one: one.step == "second" and not other.over.is_set()
        yield other


async def send(http: str, flow_id: str) -> None:
    """Send an event that is accepted."""
    answer = await call(http, "POST", f"/hook/{flow_id}", [JSON], b"{}")
    assert answer.status == 200


async def test_a_stop_does_not_wait_for_a_step_that_is_too_long(
    tmp_path: Path, other: Other
) -> None:
    """It ends with 0; the step runs again at the next start, the one before does not."""
    (tmp_path / "flow.yaml").write_text(calling(other.url, *STEPS, flow=FLOWS[0]))
    words = (tmp_path / "data", "--flows", str(tmp_path))
    async with up(*words, environment=DRAIN) as hookline:
        await send(hookline.http, FLOWS[0])
        await until(lambda: "second" in other.steps())
        async with asyncio.timeout(STOPPED_S):
            assert await hookline.stop() == 0
        other.over.set()
    async with up(*words, environment=DRAIN):
        await until(lambda: "third" in other.steps())

    assert other.steps() == ["first", "second", "second", "third"]
    assert other.calls[1] == other.calls[2]


@pytest.mark.kafka
async def test_an_executor_does_not_wait_for_a_step_that_is_too_long(
    kafka_servers: tuple[str, ...], tmp_path: Path, other: Other
) -> None:
    """The same on Kafka: the next executor goes on behind the step before."""
    async with _line(kafka_servers, tmp_path, other, **DRAIN) as line:
        executor = await line.executor()
        await send(line.ingress.http, FLOWS[0])
        await until(lambda: "second" in other.steps())
        async with asyncio.timeout(STOPPED_S):
            assert await executor.stop() == 0
        other.over.set()
        await line.executor()
        await until(lambda: "third" in other.steps())

    assert other.steps() == ["first", "second", "second", "third"]
    assert other.calls[1] == other.calls[2]


@pytest.mark.kafka
async def test_a_step_that_ends_within_the_handover_runs_once(
    kafka_servers: tuple[str, ...], tmp_path: Path, other: Other
) -> None:
    """Another executor joins meanwhile; what follows runs where its partition goes."""
    async with _line(
        kafka_servers, tmp_path, other, HOOKLINE_EXECUTOR__HANDOVER_S="20"
    ) as line:
        executors = [await line.executor()]
        await executors[0].wait_metric(OWNED, 2)
        for flow_id in FLOWS:
            await send(line.ingress.http, flow_id)
        await until(lambda: other.steps().count("second") == 2)
        executors.append(await line.executor())
        await until_asked(partial(_is_rebalancing, line))
        other.over.set()
        for one in executors:
            await one.wait_metric(OWNED, 1)
        await until(lambda: other.steps().count("third") == 2)

    assert sorted(other.steps()) == sorted(2 * STEPS)


@pytest.mark.kafka
async def test_a_step_that_is_longer_than_the_handover_runs_again(
    kafka_servers: tuple[str, ...], tmp_path: Path, other: Other
) -> None:
    """It is abandoned, and holds nobody up; its flow goes on in order, once."""
    async with _line(
        kafka_servers, tmp_path, other, HOOKLINE_EXECUTOR__HANDOVER_S="1"
    ) as line:
        executors = [await line.executor()]
        await executors[0].wait_metric(OWNED, 2)
        for flow_id in FLOWS * 2:
            await send(line.ingress.http, flow_id)
        await until(lambda: other.steps().count("second") == 2)
        executors.append(await line.executor())
        for one in executors:
            await one.wait_metric(OWNED, 1)
        await until(lambda: other.steps().count("second") == 4)
        other.over.set()
        await until(lambda: other.steps().count("third") == 4)

    assert other.steps().count("first") == 4
    assert other.steps().count("second") == 6


async def _is_rebalancing(line: Line) -> bool:
    """Whether the group waits for its members."""
    name = line.kafka.name_of(GROUP)

    def ask() -> str:
        with asking(line.kafka.servers[0]) as admin:
            return str(admin.describe_groups([name])[name]["group_state"])

    return "Rebalance" in await asyncio.to_thread(ask)


def _line(
    servers: tuple[str, ...], directory: Path, other: Other, **more: str
) -> AbstractAsyncContextManager[Line]:
    return line_on(
        servers,
        directory,
        flows=9,
        partitions=2,
        durability=ONE,
        flow_of=lambda number: calling(other.url, *STEPS, flow=f"flow-{number}"),
        HOOKLINE_KAFKA__SESSION_TIMEOUT_S="6",
        **more,
    )
