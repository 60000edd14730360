"""Dead letters that cannot be written: their flow stops there, and nothing is dropped."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka.admin import (  # noqa: TID251 - the fault is set at the broker
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
)

from hookline.log import Log
from hookline.log.kafka import Cluster, create_topics
from hookline.v1 import event_pb2, execution_pb2
from services.executor.serve import GROUP
from tests.broker_answers import asking
from tests.brokers import kafka_cluster
from tests.disks import faulty_disk
from tests.faults.test_misbehaving import (
    computing,
    letter_of,
    neighbours,
    neighbours_run,
    sent,
)
from tests.instance import Instance, running
from tests.instance_on_kafka import ONE, TOPICS, running_on_kafka
from tests.other_system import another_system, calling
from tests.test_executions import dead_letters
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
FAILING = computing("failing", "body.n = 0 ? 'good' : body.n + 1")
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
POISON = b'{"n": "one"}'


async def assert_stopped(hookline: Instance, *event_ids: str) -> None:
    """None of them has ended; no letter is there."""
    assert not hookline.ends.by_event.keys() & set(event_ids)
    letters = await dead_letters(hookline)
    assert not [one for one in letters if one.event.id in event_ids]


async def assert_goes_on(hookline: Instance, bad: str, after: str) -> None:
    """The event has its letter, once, and then its end; the next one of the flow runs."""
    ended = await hookline.ends.wait(bad)
    good = await hookline.ends.wait(after)
    letter = await letter_of(hookline, bad)
    order = [event.id for event in hookline.ends.order]

    assert ended.status == execution_pb2.STATUS_FAILED
    assert letter.event.request.body == POISON
    assert good.status == execution_pb2.STATUS_COMPLETED
    assert order.index(bad) < order.index(after)


@pytest.mark.kafka
async def test_a_topic_that_takes_no_letter_stops_the_flow_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Brokers refuse what goes to `dead_letters`: neighbours run, and then it goes on."""
    said: list[str] = []

    def is_delayed() -> bool:
        said.append("".join(capfd.readouterr()))
        return "journal.delayed" in "".join(said)

    with kafka_cluster(tmp_path / "kafka", 1, **AUTHORIZER) as brokers:
        cluster = Cluster(brokers.servers)
        await create_topics(cluster, TOPICS.all, ONE, groups={GROUP: TOPICS.events})
        async with running_on_kafka(
            cluster, tmp_path, FAILING, *neighbours()
        ) as hookline:
            with denied(cluster):
                bad = await sent(hookline, "failing", POISON)
                after = await sent(hookline, "failing", b'{"n": 0}')
                await neighbours_run(hookline)
                await until(is_delayed, 60)
                await assert_stopped(hookline, bad, after)
                await neighbours_run(hookline)
                assert await is_open(hookline.hosted.log, bad)
            await assert_goes_on(hookline, bad, after)


@contextmanager
def denied(cluster: Cluster) -> Iterator[None]:
    """Nobody may write dead letters while the block runs."""
    pattern = ResourcePattern(
        ResourceType.TOPIC, cluster.name_of(TOPICS.dead_letters.name)
    )
    deny, allow = (
        ACL("User:ANONYMOUS", "*", operation, permission, pattern)
        for operation, permission in (
            (ACLOperation.WRITE, ACLPermissionType.DENY),
            (ACLOperation.ALL, ACLPermissionType.ALLOW),
        )
    )
    with asking(cluster.servers[0]) as admin:
        admin.create_acls([deny, allow])
    yield
    with asking(cluster.servers[0]) as admin:
        admin.delete_acls([deny])


async def is_open(log: Log, event_id: str) -> bool:
    """Whether an event of the log has no end in the journal."""
    for partition in range(TOPICS.events.partitions):
        async for batch in log.read(TOPICS.events, partition, 0, 1_000_000):
            for record in batch:
                event = event_pb2.Event.FromString(record.value or b"")
                if event.id == event_id:
                    return record.offset not in await ended_offsets(log, partition)
    return False


async def ended_offsets(log: Log, partition: int) -> set[int]:
    """The events whose ends are in the journal of a partition."""
    return {
        entry.event_offset
        async for batch in log.read(TOPICS.executions, partition, 0, 1_000_000)
        for record in batch
        if (entry := execution_pb2.JournalEntry.FromString(record.value or b""))
        and entry.HasField("ended")
    }


async def test_a_disk_that_takes_no_letter_stops_the_flow_and_drops_nothing(
    tmp_path: Path,
) -> None:
    """Letters are in the file that events are in: it is full as a step fails for good."""
    let_go = asyncio.Event()
    with faulty_disk(f"letters-{uuid.uuid4().hex}") as disk:
        async with another_system() as other:
            other.over, other.hangs = let_go, lambda call: call.step == "failing"
            other.statuses["failing"] = [400, 200]
            flow = calling(other.url, "failing", flow="failing")
            async with running(tmp_path, flow, vfs=disk.name) as hookline:
                bad = await sent(hookline, "failing", POISON)
                after = await sent(hookline, "failing", b'{"n": 0}')
                await until(lambda: other.steps() == ["failing"])
                disk.full = True
                let_go.set()
                await until(lambda: disk.failures > 5)
                await assert_stopped(hookline, bad, after)
                disk.heal()
                await assert_goes_on(hookline, bad, after)
