"""The line on Kafka while executors come and go, and while brokers fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hookline.log import partition_of
from hookline.log.kafka import Durability
from tests.brokers import Cluster as Brokers
from tests.brokers import kafka_cluster, leader_of
from tests.kafka_line import Line, Load, assert_all_ran_in_order, line_on, under_load
from tests.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

DEADLINE_S = 5.0
SLACK_S = 2.0  # of a busy machine
HEALED_S = 10.0
ONE = Durability(replication=1, min_insync=1)
OWNED = "hookline_partitions_owned"


async def test_order_holds_while_executors_join_and_leave(
    kafka_of_three: Brokers, tmp_path: Path
) -> None:
    """From one to four to one, 500 events a second, 50 flows: all run, in order."""
    async with line_on(kafka_of_three.servers, tmp_path, flows=50) as line:
        first = await line.executor()
        async with under_load(line, 500) as load:
            await load.until_more(1_000)
            others = [await line.executor() for _ in range(3)]
            for executor in (first, *others):
                await executor.wait_metric(OWNED, 3)
            await load.until_more(2_000)
            assert await others[0].stop() == 0
            assert await others[2].stop() == 0
            await load.until_more(500)
            await others[1].kill()
            await first.wait_metric(OWNED, 12)
            await load.until_more(1_000)

        await assert_all_ran_in_order(line, load)
        assert not load.refused


@pytest.fixture(scope="module")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """A broker that may be broken."""
    with kafka_cluster(tmp_path_factory.mktemp("one")) as brokers:
        yield brokers


@pytest.fixture
async def line(one_broker: Brokers, tmp_path: Path) -> AsyncIterator[Line]:
    """The line on it, with an executor."""
    await asyncio.to_thread(one_broker.heal)
    async with line_on(one_broker.servers, tmp_path, flows=10, durability=ONE) as line:
        await line.executor()
        yield line


async def stopped(brokers: Brokers, seconds: float) -> None:
    """The broker is down for a while."""
    [broker] = brokers.brokers
    await asyncio.to_thread(broker.stop)
    await asyncio.sleep(seconds)  # the length of the fault
    await asyncio.to_thread(brokers.heal)


async def frozen(brokers: Brokers, seconds: float) -> None:
    """The broker answers nothing for a while, and its connections stay."""
    [broker] = brokers.brokers
    broker.freeze()
    await asyncio.sleep(seconds)  # the length of the fault
    broker.thaw()


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [(stopped, 2.0), (stopped, 30.0), (frozen, 20.0)],
    ids=["stopped-shortly", "stopped-30s", "frozen-20s"],
)
async def test_nothing_is_lost_while_the_broker_is_away(
    line: Line,
    one_broker: Brokers,
    fault: Callable[[Brokers, float], Awaitable[None]],
    seconds: float,
) -> None:
    """503 within the deadline meanwhile, accepted again soon after, all by itself."""
    async with under_load(line, 100) as load:
        await load.until_more(200)
        await fault(one_broker, seconds)
        await assert_accepts_soon(load)
        await load.until_more(200)

    assert_refused_in_time(load)
    if seconds > 2 * DEADLINE_S:
        assert load.refused
    await assert_all_ran_in_order(line, load)
    await assert_all_live(line)


async def test_services_are_not_ready_while_the_broker_is_away_and_nothing_comes(
    line: Line, one_broker: Brokers
) -> None:
    """A router that could keep nothing says so without being tried; then it is ready."""
    executor = line.services[-1]
    [broker] = one_broker.brokers
    broker.kill()
    for one in (line.router, executor):
        await one.wait_missing("log")
    await asyncio.to_thread(one_broker.heal)

    for one in (line.router, executor):
        await one.wait_ready()


async def test_nothing_is_lost_when_one_broker_of_three_is_killed(
    kafka_of_three: Brokers, tmp_path: Path
) -> None:
    """Its partitions are led by others soon; it comes back, and another one goes."""
    async with line_on(kafka_of_three.servers, tmp_path, flows=20) as line:
        await line.executor()
        async with under_load(line, 200) as load:
            await load.until_more(400)
            for partition in (0, 1):
                name = line.kafka.name_of("events")
                leader = await asyncio.to_thread(
                    leader_of, kafka_of_three, name, partition
                )
                leader.kill()
                await assert_accepts_soon(load)
                await load.until_more(400)
                await asyncio.to_thread(kafka_of_three.heal)
            await load.until_more(400)

        assert_refused_in_time(load)
        await assert_all_ran_in_order(line, load)
        await assert_all_live(line)


async def test_a_partition_without_a_leader_holds_nobody_else(
    kafka_of_three: Brokers, tmp_path: Path
) -> None:
    """Its requests are refused at their deadline; all others are accepted, as quickly."""
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(
            line_on(kafka_of_three.servers, tmp_path, flows=40, durability=ONE)
        )
        name = line.kafka.name_of("events")
        leaders = {
            partition: await asyncio.to_thread(
                leader_of, kafka_of_three, name, partition
            )
            for partition in range(line.topics.events.partitions)
        }
        victim = leaders[partition_of(line.flow_ids[0].encode(), len(leaders))]
        held = [
            flow_id
            for flow_id in line.flow_ids
            if leaders[partition_of(flow_id.encode(), len(leaders))] is victim
        ]
        others = [flow_id for flow_id in line.flow_ids if flow_id not in held]
        load = await stack.enter_async_context(under_load(line, 200, others))
        await load.until_more(600)
        victim.kill()
        stuck = await stack.enter_async_context(under_load(line, 50, held))
        await until(lambda: len(stuck.refused) >= 2 * len(held), 60)
        mark = load.count
        await load.until_more(1_000)
        during = latencies(load, mark)

    assert held
    assert {refusal.status for refusal in stuck.refused} == {503}
    assert not load.refused
    # The stream does not wait for the slowest: the held ones take the whole deadline.
    assert during[len(during) // 2] < DEADLINE_S / 10


def latencies(load: Load, since: int) -> list[float]:
    """How long accepted requests took, sorted."""
    return sorted(end - begun for begun, end in load.accepted_at[since:])


async def assert_accepts_soon(load: Load) -> None:
    """The first accept of a request that was sent from now on comes within 10 s."""
    healed = asyncio.get_running_loop().time()
    await until(
        lambda: bool(load.accepted_at) and load.accepted_at[-1][0] > healed, HEALED_S
    )


def assert_refused_in_time(load: Load) -> None:
    """Refusals are 503, and no caller has waited for longer than the deadline."""
    assert {refusal.status for refusal in load.refused} <= {503}
    slowest = max((refusal.after_s for refusal in load.refused), default=0.0)
    assert slowest < DEADLINE_S + SLACK_S
    assert not load.lost_connections


async def assert_all_live(line: Line) -> None:
    """No process had to be started again."""
    for one in line.services:
        assert one.process.returncode is None
        await one.wait_ready()
