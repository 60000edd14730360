"""What only the log on Kafka has: members of a group, refusals of brokers, bounds."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import (  # noqa: TID251 - to break what the log relies on
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)

from hookline.errors import BadConfiguration, TooLarge, Unavailable
from hookline.log import Assignment, Commit, Log, Position, Record, Topic, partition_of
from hookline.log.kafka import (
    Cluster,
    Durability,
    KafkaLog,
    check_topics,
    create_topics,
    open_log,
)
from tests.brokers import Cluster as Brokers
from tests.brokers import kafka_cluster
from tests.waiting import until

pytestmark = pytest.mark.kafka

EVENTS = Topic("events", 6)
OTHER = Topic("other", 2)
FLOWS = Topic("flows", compacted=True)
TOPICS = (EVENTS, OTHER, FLOWS)
ONE = Durability(replication=1, min_insync=1)
MAX_BYTES = 1024 * 1024
Opening = Callable[..., AbstractAsyncContextManager[KafkaLog]]
KEY = b"flow"
HOME = partition_of(KEY, EVENTS.partitions)


@pytest.fixture
async def cluster(kafka_servers: tuple[str, ...]) -> Cluster:
    cluster = Cluster(kafka_servers, prefix=f"{uuid.uuid4().hex}.")
    await create_topics(
        cluster, TOPICS, ONE, groups={"g": EVENTS}, largest_record_bytes=MAX_BYTES
    )
    return cluster


@pytest.fixture
def opening(cluster: Cluster) -> Opening:
    """How a member opens the log; a silent one is soon given up."""

    def open_one(**more: Any) -> AbstractAsyncContextManager[KafkaLog]:
        options: dict[str, Any] = {
            "durability": ONE,
            "session_timeout_s": 3.0,
            "largest_record_bytes": MAX_BYTES,
            **more,
        }
        return open_log(cluster, TOPICS, **options)

    return open_one


@dataclass(slots=True)
class Member:
    """A reader that takes what it gets, and commits and releases when it must."""

    releases: bool = True
    # So many of a partition's records are done; the others are taken, and given up.
    does: int | None = None
    owned: dict[int, Assignment] = field(default_factory=dict)
    began: list[Assignment] = field(default_factory=list)
    taken: list[Record] = field(default_factory=list)
    # The offset of the first record that an assignment gave.
    begins_at: dict[int, int] = field(default_factory=dict)

    async def run(self, log: Log, topic: Topic) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            async for assignment in log.assignments(topic, "g"):
                self.owned[assignment.partition] = assignment
                self.began.append(assignment)
                tasks.create_task(self._take(assignment))

    async def _take(self, assignment: Assignment) -> None:
        next_offset = None
        self.begins_at.pop(assignment.partition, None)
        async for batch in assignment.records():
            self.taken += batch
            next_offset = batch[-1].offset + 1
            self.begins_at.setdefault(assignment.partition, batch[0].offset)
        if self.does is not None:
            next_offset = self.does
        del self.owned[assignment.partition]
        if not self.releases:
            return
        if next_offset is not None:
            await assignment.commit(Commit(next_offset, "handed over"))
        assignment.release()


@asynccontextmanager
async def reading(log: Log, member: Member) -> AsyncIterator[Member]:
    """Run a member while the block runs."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(member.run(log, EVENTS))
        try:
            yield member
        finally:
            task.cancel()


async def append_many(log: Log, count: int) -> None:
    appends = (log.append(EVENTS, b"%d" % n, b"%d" % n) for n in range(count))
    await asyncio.gather(*appends)


async def test_members_share_the_partitions(opening: Opening) -> None:
    """Each partition is at one of them, all are at somebody, and all records are read."""
    async with AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(opening()) for _ in range(3)]
        members = [
            await stack.enter_async_context(reading(log, Member())) for log in logs
        ]
        await until(lambda: sorted(len(one.owned) for one in members) == [2, 2, 2])
        await append_many(logs[0], 300)
        await until(lambda: sum(len(one.taken) for one in members) >= 300)

        shares = [set(one.owned) for one in members]
    assert set.union(*shares) == set(range(EVENTS.partitions))
    values = [record.value or b"" for one in members for record in one.taken]
    assert sorted(values) == sorted(b"%d" % n for n in range(300))


async def test_a_partition_is_handed_over_with_its_commit(opening: Opening) -> None:
    """What was committed while it was taken away is where the next one begins."""
    async with opening() as one, opening() as other, reading(one, Member()) as first:
        await until(lambda: len(first.owned) == EVENTS.partitions)
        await append_many(one, 600)
        await until(lambda: len(first.taken) == 600)
        async with reading(other, Member()) as second:
            await until(lambda: len(first.owned) == len(second.owned) == 3)
            moved = [a for a in second.began if a.partition in second.owned]
            commits = [a.committed for a in moved if a.committed]

            assert {commit.metadata for commit in commits} == {"handed over"}
            assert second.taken == []


async def test_who_keeps_a_partition_reads_on_from_its_commit(opening: Opening) -> None:
    """What it had read and not done before a rebalance comes again; nothing is passed."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(opening())
        other = await stack.enter_async_context(opening())
        first = await stack.enter_async_context(reading(one, Member(does=3)))
        await until(lambda: len(first.owned) == EVENTS.partitions)
        await append_many(one, 600)
        await until(lambda: len(first.taken) == 600)
        first.begins_at.clear()  # what is there afterwards is of the second time
        await stack.enter_async_context(reading(other, Member(does=3)))
        await until(lambda: len(first.began) == EVENTS.partitions + 3)
        again = first.began[EVENTS.partitions :]
        await until(lambda: all(one.partition in first.begins_at for one in again))

        assert [one.committed.offset for one in again if one.committed] == [3, 3, 3]
        assert {first.begins_at[one.partition] for one in again} == {3}


async def test_a_slow_reader_gets_all_of_every_partition(opening: Opening) -> None:
    """More stands in each than is kept for it: reading pauses, and goes on everywhere."""
    keys = {partition_of(b"%d" % n, 6): b"%d" % n for n in range(100)}
    each, at_once = 15_000, 3_000
    async with opening(append_deadline_s=30.0) as log:
        for _ in range(0, each, at_once):
            appends = (
                log.append(EVENTS, key, b"{}")
                for key in keys.values()
                for _ in range(at_once)
            )
            await asyncio.gather(*appends)
        taken = dict.fromkeys(keys, 0)

        async def take(assignment: Assignment) -> None:
            async for batch in assignment.records():
                taken[assignment.partition] += len(batch)
                await asyncio.sleep(len(batch) / 10_000)  # what it does with them
            assignment.release()

        async def take_all() -> None:
            async with asyncio.TaskGroup() as tasks:
                async for assignment in log.assignments(EVENTS, "g"):
                    tasks.create_task(take(assignment))

        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(take_all())
            await until(lambda: sum(taken.values()) == 6 * each)
            taking.cancel()


async def test_who_does_not_release_in_time_is_not_waited_for(opening: Opening) -> None:
    """The others go on after the limit; the old owner owns nothing any more."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(opening(drain_s=0.5))
        other = await stack.enter_async_context(opening())
        first = await stack.enter_async_context(reading(one, Member(releases=False)))
        await until(lambda: len(first.owned) == EVENTS.partitions)
        held = list(first.began)
        second = await stack.enter_async_context(reading(other, Member()))
        await until(lambda: len(second.owned) == 3)

        assert not any(assignment.owned() for assignment in held)
        with pytest.raises(Unavailable):
            await held[0].commit(Commit(0))


async def test_a_member_that_leaves_is_followed_at_once(opening: Opening) -> None:
    """Nobody waits for its session to end."""
    patient = {"session_timeout_s": 30.0}
    async with opening(**patient) as staying, reading(staying, Member()) as second:
        async with opening(**patient) as leaving, reading(leaving, Member()) as first:
            await until(lambda: len(first.owned) == len(second.owned) == 3)
        await until(lambda: len(second.owned) == EVENTS.partitions, 10.0)


@pytest.mark.parametrize("size", [MAX_BYTES - 500, 2 * MAX_BYTES])
async def test_a_record_that_is_too_large_harms_nobody_else(
    opening: Opening, size: int
) -> None:
    """Refused here or by the broker, what is appended beside and after it is kept."""
    async with opening(largest_record_bytes=MAX_BYTES) as log:
        beside = [log.append(EVENTS, KEY, b"%d" % n) for n in range(10)]
        large = log.append(EVENTS, KEY, uuid.uuid4().bytes * (size // 16))
        after = [log.append(EVENTS, KEY, b"%d" % n) for n in range(10, 20)]
        await asyncio.gather(*beside, *after)
        if size > MAX_BYTES:
            with pytest.raises(TooLarge):
                await large
        else:
            await large
        found = [
            record.value
            async for batch in log.read(EVENTS, HOME, 0, 1_000)
            for record in batch
            if len(record.value or b"") < 10
        ]

    assert found == [b"%d" % n for n in range(20)]


async def test_a_record_larger_than_what_goes_out_at_once_is_kept_in_order(
    kafka_servers: tuple[str, ...],
) -> None:
    """It goes out alone; what is appended before and after stays before and after."""
    largest = 8 * MAX_BYTES
    cluster = Cluster(kafka_servers, prefix=f"{uuid.uuid4().hex}.")
    await create_topics(cluster, [EVENTS], ONE, largest_record_bytes=largest)
    values = [b"before", b"x" * (largest - 1_000), b"after"]
    async with open_log(
        cluster, [EVENTS], durability=ONE, largest_record_bytes=largest
    ) as log:
        await asyncio.gather(*(log.append(EVENTS, KEY, value) for value in values))
        batches = [batch async for batch in log.read(EVENTS, HOME, 0, 1_000)]

    assert [record.value for batch in batches for record in batch] == values


async def test_a_record_that_the_broker_refuses_harms_nobody_else(
    cluster: Cluster, opening: Opening
) -> None:
    """It is over the topic's limit only: the answer is the broker's."""
    async with opening() as log:
        with admin_of(cluster) as admin:
            _set_config(admin, cluster.name_of("other"), "max.message.bytes", "1000")
        refused = [log.append(OTHER, b"%d" % n, b"x" * 5_000) for n in range(5)]
        kept = [log.append(EVENTS, KEY, b"%d" % n) for n in range(100)]
        outcomes = await asyncio.gather(*refused, return_exceptions=True)
        positions = await asyncio.gather(*kept)
        later = await log.append(OTHER, b"small", b"x")

    assert {type(outcome) for outcome in outcomes} == {TooLarge}
    assert [position.offset for position in positions] == list(range(100))
    assert later.offset == 0


async def test_what_is_missing_in_the_log_is_never_jumped_over(
    opening: Opening,
) -> None:
    """A commit that stands before the first record holds its partition; others go on."""
    async with opening() as log:
        for n in range(10):
            await log.append(EVENTS, KEY, b"%d" % n)
        async with reading(log, Member()) as member:
            await until(lambda: len(member.taken) == 10)
            await member.owned[HOME].commit(Commit(3))
            member.releases = False
        await log.trim(EVENTS, Position(HOME, 7))
    async with opening() as log, reading(log, Member()) as member:
        await until(lambda: len(member.owned) == EVENTS.partitions)
        await append_many(log, 100)
        elsewhere = sum(partition_of(b"%d" % n, 6) != HOME for n in range(100))
        await until(lambda: len(member.taken) >= elsewhere)

    assert {record.partition for record in member.taken} == set(range(6)) - {HOME}


async def test_a_group_whose_commits_are_gone_runs_nothing_again(
    cluster: Cluster, opening: Opening
) -> None:
    """Deleted or expired: partitions with records are held, what was empty goes on."""
    async with opening() as log:
        await log.append(EVENTS, KEY, b"done")
        async with reading(log, Member()) as member:
            await until(lambda: len(member.taken) == 1)
            await until(lambda: len(member.owned) == EVENTS.partitions)
            await member.owned[HOME].commit(Commit(1))
    with admin_of(cluster) as admin:
        admin.delete_groups([cluster.name_of("g")])
    async with opening() as log, reading(log, Member()) as member:
        await until(lambda: len(member.owned) == EVENTS.partitions)
        await append_many(log, 100)
        elsewhere = sum(partition_of(b"%d" % n, 6) != HOME for n in range(100))
        await until(lambda: len(member.taken) >= elsewhere)

    assert {record.partition for record in member.taken} == set(range(6)) - {HOME}


async def test_a_record_that_cannot_be_read_holds_its_partition_alone(
    tmp_path: Path,
) -> None:
    """A byte has changed on the broker's disk: that partition stops, all others go on."""
    with kafka_cluster(tmp_path / "kafka") as brokers:
        cluster = Cluster(brokers.servers)
        await create_topics(cluster, TOPICS, ONE, groups={"g": EVENTS})
        async with open_log(cluster, TOPICS, durability=ONE) as log:
            await log.append(EVENTS, KEY, b"spoiled")
            await append_many(log, 100)
        [broker] = brokers.brokers
        await asyncio.to_thread(broker.stop)
        _spoil(broker.directory / "data" / f"hookline.events-{HOME}", b"spoiled")
        await asyncio.to_thread(brokers.heal)

        elsewhere = sum(partition_of(b"%d" % n, 6) != HOME for n in range(100))
        opened = open_log(cluster, TOPICS, durability=ONE, session_timeout_s=3.0)
        async with opened as log, reading(log, Member()) as member:
            await until(lambda: len(member.taken) >= elsewhere, 60)
            await append_many(log, 100)
            await until(lambda: len(member.taken) >= 2 * elsewhere, 60)

    assert {record.partition for record in member.taken} == set(range(6)) - {HOME}


def _spoil(partition: Path, content: bytes) -> None:
    """Change a byte of a record where the broker keeps it."""
    [segment] = partition.glob("*.log")
    kept = segment.read_bytes()
    assert content in kept
    segment.write_bytes(kept.replace(content, content[:-1] + b"!"))


@pytest.mark.parametrize(
    ("asked", "durability", "sentence"),
    [
        (Topic("nothing", 3), ONE, "topics create"),
        (Topic("events", 7), ONE, "HOOKLINE_LOG__PARTITIONS=6"),
        (EVENTS, Durability(3, 2), "HOOKLINE_KAFKA__REPLICATION=1"),
        (EVENTS, Durability(1, 2), "min.insync.replicas=2"),
        (Topic("flows"), ONE, "cleanup.policy=delete"),
        (Topic("events", 6, compacted=True), ONE, "cleanup.policy=compact"),
    ],
)
async def test_topics_that_break_a_promise_are_refused_at_the_start(
    cluster: Cluster, asked: Topic, durability: Durability, sentence: str
) -> None:
    """With the sentence that mends it."""
    with pytest.raises(BadConfiguration, match=sentence):
        async with open_log(
            cluster, [asked], durability=durability, largest_record_bytes=MAX_BYTES
        ):
            pass


@pytest.mark.parametrize(
    ("topic_name", "key", "value"),
    [
        ("events", "retention.ms", "86400000"),
        ("events", "retention.bytes", "1000000"),
        ("events", "unclean.leader.election.enable", "true"),
        ("events", "max.message.bytes", "1000"),
        ("events", "message.timestamp.type", "CreateTime"),
        ("events", "cleanup.policy", "compact"),
        ("flows", "cleanup.policy", "delete"),
    ],
)
async def test_a_topic_that_was_altered_is_refused_at_the_start(
    cluster: Cluster, opening: Opening, topic_name: str, key: str, value: str
) -> None:
    """With the command that puts it right."""
    with admin_of(cluster) as admin:
        _set_config(admin, cluster.name_of(topic_name), key, value)
    advice = rf"{topic_name} has {re.escape(key)}={value} .*kafka-configs"

    with pytest.raises(BadConfiguration, match=advice):
        async with opening():
            pass


async def test_brokers_that_make_topics_by_themselves_are_refused(
    tmp_path: Path,
) -> None:
    """A misspelt name would become a topic."""
    auto = {"auto.create.topics.enable": "true"}
    with kafka_cluster(tmp_path / "kafka", 1, **auto) as brokers:
        cluster = Cluster(brokers.servers)
        await create_topics(cluster, TOPICS, ONE)
        mistakes = await check_topics(cluster, TOPICS, ONE)

    assert len(mistakes) == 1
    assert "auto.create.topics.enable=false" in mistakes[0]


async def test_topics_are_made_once(cluster: Cluster) -> None:
    """What is there is left alone, and is as it should be."""
    again = await create_topics(cluster, TOPICS, ONE, largest_record_bytes=MAX_BYTES)
    wrong = await check_topics(cluster, TOPICS, ONE, largest_record_bytes=MAX_BYTES)

    assert (again, wrong) == ([], [])


async def test_no_broker_is_told_in_a_sentence() -> None:
    """Within the time that a connection may take."""
    nobody = Cluster(("127.0.0.1:9",))

    with pytest.raises(Unavailable, match=r"No broker answers at 127\.0\.0\.1:9"):
        await check_topics(nobody, TOPICS, ONE)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """A broker of this module's own, which looks who may do what."""
    authorizer = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer."
        "StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    with kafka_cluster(tmp_path_factory.mktemp("guarded"), 1, **authorizer) as brokers:
        yield brokers


async def test_a_record_that_is_not_allowed_harms_nobody_else(guarded: Brokers) -> None:
    """`Unavailable` for it; others are kept, and it, too, when it is allowed again."""
    cluster = Cluster(guarded.servers, prefix=f"{uuid.uuid4().hex}.")
    await create_topics(cluster, TOPICS, ONE)
    async with open_log(cluster, TOPICS, durability=ONE) as log:
        pattern = ResourcePattern(ResourceType.TOPIC, cluster.name_of("other"))
        denied, allowed = (
            ACL("User:ANONYMOUS", "*", operation, permission, pattern)
            for operation, permission in (
                (ACLOperation.WRITE, ACLPermissionType.DENY),
                (ACLOperation.ALL, ACLPermissionType.ALLOW),
            )
        )
        with admin_of(cluster) as admin:
            admin.create_acls([denied, allowed])
        refused = log.append(OTHER, b"key", b"")
        kept = [log.append(EVENTS, KEY, b"%d" % n) for n in range(100)]
        await asyncio.gather(*kept)
        with pytest.raises(Unavailable):
            await refused
        with admin_of(cluster) as admin:
            admin.delete_acls([denied])

        async with asyncio.timeout(30):
            while True:
                try:
                    position = await log.append(OTHER, b"key", b"")
                except Unavailable:
                    continue
                break
    assert position.offset == 0


def admin_of(cluster: Cluster) -> Any:
    """Kafka's own client for those who run it; a context manager."""
    return KafkaAdminClient(bootstrap_servers=list(cluster.servers))


def _set_config(admin: Any, topic_name: str, key: str, value: str) -> None:
    from kafka.admin import (  # noqa: TID251 - as above
        ConfigResource,
        ConfigResourceType,
    )

    resource = ConfigResource(ConfigResourceType.TOPIC, topic_name, {key: value})
    admin.alter_configs([resource])
