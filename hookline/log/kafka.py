"""Stop 5 when one machine is not enough: the log on Kafka.

Keeps the contract of `hookline.log` with kafka-python: a producer that is replaced when
it is stuck, one member of a consumer group for each `assignments`, and clients outside of
any group for reads. A record's time is the broker's.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from hookline.errors import BadConfiguration, Error, NotAppended, Unavailable
from hookline.log import Bounds, CaughtUp, Position, Record, Topic, partition_of
from hookline.log.kafka_assignment import KafkaAssignment
from hookline.log.kafka_cluster import Cluster, Durability
from hookline.log.kafka_follower import Follower
from hookline.log.kafka_ranges import Ranges
from hookline.log.kafka_reader import GroupReader
from hookline.log.kafka_topics import check_topics, create_topics, trim
from hookline.log.kafka_writer import Writer, fail
from hookline.telemetry import get_logger

__all__ = [
    "Cluster",
    "Durability",
    "KafkaLog",
    "check_topics",
    "create_topics",
    "open_log",
]
SWEEP_S = 0.1
CLOSE_S = 10.0
logger = get_logger(__name__)


class KafkaLog:
    """The log on Kafka; made by `open_log`."""

    def __init__(
        self,
        cluster: Cluster,
        writer: Writer,
        *,
        append_deadline_s: float,
        session_timeout_s: float,
        drain_s: float,
        largest_record_bytes: int,
    ) -> None:
        self._cluster = cluster
        self._writer = writer
        self._deadline_s = append_deadline_s
        self._session_timeout_s = session_timeout_s
        self._drain_s = drain_s
        self._largest = largest_record_bytes
        self._loop = asyncio.get_running_loop()
        self._ranges = Ranges(cluster, largest_record_bytes)
        self._readers: dict[tuple[str, str], GroupReader] = {}
        self._followers: set[Follower] = set()
        self._overdue: list[tuple[float, asyncio.Future[Position]]] = []
        self._closing = False

    @property
    def healthy(self) -> bool:
        """Whether records are acknowledged, groups answer, and topics are followed."""
        return (
            self._writer.healthy
            and all(reader.healthy for reader in self._readers.values())
            and all(follower.healthy for follower in self._followers)
        )

    def append(
        self, topic: Topic, key: bytes, value: bytes | None
    ) -> "asyncio.Future[Position]":
        """One future a record; see the contract."""
        future: asyncio.Future[Position] = self._loop.create_future()
        if self._closing:
            fail(future, NotAppended("The log is closing: try again later."))
            return future
        self._overdue.append((self._loop.time() + self._deadline_s, future))
        name = self._cluster.name_of(topic.name)
        partition = partition_of(key, topic.partitions)
        self._writer.append(name, partition, key, value, future)
        return future

    def has_room(self, records: int, size: int) -> bool:
        """Whether so many records would be taken now."""
        return not self._closing and self._writer.has_room(records, size)

    async def assignments(
        self, topic: Topic, group: str
    ) -> AsyncIterator[KafkaAssignment]:
        """Partitions as the group gives them to this member."""
        if (topic.name, group) in self._readers:
            raise Error(f"the group {group} reads {topic.name} already in this process")
        reader = GroupReader(
            self._cluster,
            topic,
            group,
            session_timeout_s=self._session_timeout_s,
            drain_s=self._drain_s,
            largest_record_bytes=self._largest,
        )
        self._readers[topic.name, group] = reader
        try:
            async for assignment in reader.assignments():
                yield assignment
        finally:
            del self._readers[topic.name, group]
            await reader.close()

    async def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records that are durable now, in batches."""
        async for batch in self._ranges.read(topic, partition, start, end):
            yield batch

    async def follow(self, topic: Topic) -> AsyncIterator[Sequence[Record] | CaughtUp]:
        """All of a compacted topic, the mark, then what comes."""
        follower = Follower(self._cluster, self._largest, topic)
        self._followers.add(follower)
        try:
            async for batch in follower.batches():
                yield batch
        finally:
            self._followers.discard(follower)
            follower.close()

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Where a partition starts and ends now."""
        return await self._ranges.bounds(topic, partition)

    async def trim(self, topic: Topic, before: Position) -> None:
        """Have the brokers forget what is before an offset."""
        await trim(self._cluster, self._cluster.name_of(topic.name), before)

    async def fail_overdue(self) -> None:
        """Fail what has waited for longer than the deadline, until cancelled.

        Raises Error where a reader is stuck in its client: the process ends with it.
        """
        while True:
            await asyncio.sleep(min(SWEEP_S, self._deadline_s / 4))
            if any(reader.stuck for reader in self._readers.values()):
                raise Error("the log's reader is stuck; start again, nothing is lost")
            now = self._loop.time()
            due = 0
            for deadline, future in self._overdue:
                if deadline > now and not future.done():
                    break
                due += 1
                fail(future, Unavailable("The log did not take it in time: try later."))
            del self._overdue[:due]

    async def close(self) -> None:
        """Send what is waiting, leave the groups, end the clients."""
        self._closing = True
        for follower in list(self._followers):
            follower.close()
        for reader in list(self._readers.values()):
            await reader.close()
        await self._writer.close(min(CLOSE_S, self._deadline_s))
        await self._ranges.close()


@asynccontextmanager
async def open_log(
    cluster: Cluster,
    topics: Iterable[Topic],
    *,
    durability: Durability = Durability(),  # noqa: B008 - frozen
    append_deadline_s: float = 5.0,
    most_pending_bytes: int = 64 * 1024 * 1024,
    session_timeout_s: float = 10.0,
    drain_s: float = 3.0,
    largest_record_bytes: int = 16 * 1024 * 1024,
    compression: str | None = None,
) -> AsyncIterator[KafkaLog]:
    """Connect to the log.

    Appends fail after `append_deadline_s`, and at once while `most_pending_bytes` are
    waiting. A member that is silent for `session_timeout_s` loses its partitions; when
    partitions move, what runs has `drain_s` to end.

    Raises BadConfiguration where the topics would not keep the promises, Unavailable
    where no broker answers; then trying again later is safe.
    """
    topics = list(topics)
    sentences = await check_topics(
        cluster, topics, durability, largest_record_bytes=largest_record_bytes
    )
    if sentences:
        raise BadConfiguration("\n".join(sentences))
    _say_what_is_weakened(durability)
    writer = Writer(
        cluster,
        [cluster.name_of(topic.name) for topic in topics],
        delivery_s=append_deadline_s,
        most_pending_bytes=most_pending_bytes,
        largest_record_bytes=largest_record_bytes,
        compression=compression,
    )
    await writer.start()
    log = KafkaLog(
        cluster,
        writer,
        append_deadline_s=append_deadline_s,
        session_timeout_s=session_timeout_s,
        drain_s=drain_s,
        largest_record_bytes=largest_record_bytes,
    )
    async with asyncio.TaskGroup() as tasks:
        sweeper = tasks.create_task(log.fail_overdue())
        watcher = tasks.create_task(writer.watch())
        try:
            yield log
        finally:
            await log.close()
            sweeper.cancel()
            watcher.cancel()


def _say_what_is_weakened(durability: Durability) -> None:
    copies, needed = durability.replication, durability.min_insync
    if copies < Durability().replication or needed < Durability().min_insync:
        logger.warning(
            "log.weakened",
            copies=copies,
            needed_for_2xx=needed,
            advice=f"the loss of {needed} broker(s) can lose accepted events; while "
            f"{copies - needed + 1} broker(s) are away nothing is accepted",
        )
