"""Stop 5 on Kafka, the reading side: one member of a consumer group.

One thread owns the client and runs no flow code: it polls, puts records into bounded
buffers, pauses partitions whose buffer is full, and commits. Whatever goes wrong in the
client ends in a new client; assignments of the old one have ended then. A record that
the broker has lost is an alarm, never a jump.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from kafka.net.selector import KernelEvent

from hookline.log import Commit, Topic
from hookline.log.kafka_assignment import KafkaAssignment, share_bytes
from hookline.log.kafka_cluster import Cluster
from hookline.log.kafka_commits import CALL_MS, Commits, committed
from hookline.log.kafka_ranges import as_record, close_consumer, reading_options
from hookline.telemetry import get_logger

POLL_MS: Final = 100
# No limit: the client forgets partly drained records of a partition that was paused. What
# one fetch brings is bounded by its bytes.
MOST_POLLED: Final = 2**31 - 1
# Of one answer; a broker gives the first record of an answer however large it is.
FETCH_BYTES: Final = 4 * 1024 * 1024
HEARTBEAT_MS: Final = 500
# A heartbeat's answer is late then.
LATE_S: Final = 2 * HEARTBEAT_MS / 1000
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
# Of the session's time, after which we do not trust that the group still counts on us.
SESSION_PART: Final = 0.9
# After so many clients that could read nothing at all, partitions are tried one by one.
FAILURES_BEFORE_PROBE: Final = 3
PROBE_MS: Final = 500
# A client that has turned so often was well.
WELL_TURNS: Final = 100
STUCK_S: Final = 30.0
Found = dict[TopicPartition, list[Any]]
logger = get_logger(__name__)


class GroupReader(AsyncConsumerRebalanceListener):  # type: ignore[misc] # untyped
    """A member of a group: its thread, its client, its assignments."""

    def __init__(
        self,
        cluster: Cluster,
        topic: Topic,
        group: str,
        *,
        session_timeout_s: float,
        drain_s: float,
        largest_record_bytes: int,
    ) -> None:
        self._cluster = cluster
        self._name = cluster.name_of(topic.name)
        self._session_s = session_timeout_s
        self._drain_s = drain_s
        self._options = {
            **reading_options(largest_record_bytes),
            "group_id": cluster.prefix + group,
            "partition_assignment_strategy": [RangePartitionAssignor],
            "session_timeout_ms": int(session_timeout_s * 1000),
            "heartbeat_interval_ms": min(HEARTBEAT_MS, int(session_timeout_s * 250)),
            # A member that drains longer than it may is not waited for by the others.
            "max_poll_interval_ms": int((session_timeout_s + drain_s) * 1000),
            "max_poll_records": MOST_POLLED,
            "fetch_max_bytes": FETCH_BYTES,
        }
        self._loop = asyncio.get_running_loop()
        self._fresh: asyncio.Queue[KafkaAssignment | None] = asyncio.Queue()
        self._assignments: dict[int, KafkaAssignment] = {}
        self._commits = Commits(self._name, self._call)
        self._stopping = threading.Event()
        self._polled_at = self._heard_at = self._alive_at = time.monotonic()
        self._incoming: set[TopicPartition] = set()
        self._held: set[int] = set()
        self._taken = self._turns = 0
        self._consumer: KafkaConsumer | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"log-group-{group}", daemon=True
        )

    # On the loop.

    async def assignments(self) -> AsyncIterator[KafkaAssignment]:
        """Partitions as they become ours; ends when it is closed."""
        self._thread.start()
        while (assignment := await self._fresh.get()) is not None:
            yield assignment

    def in_touch(self) -> bool:
        """Whether our thread turns, and the group has answered it, within the session.

        A process that was frozen wakes up out of touch, whatever has happened meanwhile.
        """
        since = time.monotonic() - SESSION_PART * self._session_s
        return self._polled_at > since and self._heard_at > since

    async def commit(self, partition: int, commit: Commit) -> None:
        """Have the thread commit; the newest of a partition counts for all before."""
        await self._commits.add(partition, commit)

    @property
    def healthy(self) -> bool:
        """Whether its thread is alive and in touch with the group."""
        return self._thread.is_alive() and self.in_touch()

    @property
    def stuck(self) -> bool:
        """Whether its thread has ended, or not begun a turn for longer than any takes."""
        if self._stopping.is_set():
            return False
        longest_s = self._session_s + self._drain_s + STUCK_S
        silent = time.monotonic() - self._alive_at > longest_s
        return silent or not self._thread.is_alive()

    async def close(self) -> None:
        """Leave the group; what is running is drained before, within the limit."""
        self._stopping.set()
        while not self._fresh.empty():
            if (untaken := self._fresh.get_nowait()) is not None:
                untaken.release()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, self._drain_s + self._session_s)
        self._fresh.put_nowait(None)

    # In the thread.

    def _run(self) -> None:
        failures, pause_s = 0, FIRST_PAUSE_S
        while not self._stopping.is_set():
            self._taken = self._turns = 0
            self._alive_at = time.monotonic()
            try:
                self._consumer = self._cluster.connect(KafkaConsumer, **self._options)
                self._consumer.subscribe([self._name], listener=self)
                self._load_partitions(self._consumer)
                self._serve(self._consumer, probe=failures >= FAILURES_BEFORE_PROBE)
            except Exception as error:  # noqa: BLE001 - whatever it is, a new client mends it
                if self._taken or self._turns > WELL_TURNS:
                    failures, pause_s = 0, FIRST_PAUSE_S
                failures += 1
                self._tell_renewed(error, failures)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            finally:
                self._give_up()

    def _tell_renewed(self, error: Exception, failures: int) -> None:
        text = f"{type(error).__name__}: {error}"
        logger.warning("log.reader_renewed", error=text, failures=failures)

    def _load_partitions(self, consumer: KafkaConsumer) -> None:
        """Know the topic before joining: a leader that does not gives out nothing."""
        while not consumer.partitions_for_topic(self._name):
            if self._stopping.wait(POLL_MS / 1000):
                return

    def _give_up(self) -> None:
        """End the client; what it owned is drained while it leaves, or is lost."""
        consumer = self._consumer
        if consumer is not None:
            close_consumer(consumer)
        self._consumer = None
        self._end(list(self._assignments.values()), lost=True)
        self._assignments.clear()
        self._incoming.clear()
        self._held.clear()
        self._commits.fail(closed=self._stopping.is_set())

    def _serve(self, consumer: KafkaConsumer, *, probe: bool) -> None:
        while not self._stopping.is_set():
            self._turn(consumer, self._polled(consumer))
            if probe and self._assignments:
                self._probe(consumer)
                probe = False

    def _polled(self, consumer: KafkaConsumer) -> Found:
        try:
            found = self._poll(consumer)
        except NoOffsetForPartitionError:
            return {}  # no commit: `_begin` knows what that means
        except OffsetOutOfRangeError as error:
            self._alarm(consumer, error)
            return {}
        return found

    def _poll(self, consumer: KafkaConsumer) -> Found:
        """What has come; waits a little for it.

        While a heartbeat is without an answer, the client's own waiting is a busy loop,
        each turn of which it remembers until the answer comes.
        """
        timeout_ms = POLL_MS
        if time.monotonic() - self._heard_at > LATE_S and _is_member(consumer):
            self._stopping.wait(POLL_MS / 1000)
            timeout_ms = 0
        found: Found = consumer.poll(timeout_ms=timeout_ms)
        return found

    def _turn(self, consumer: KafkaConsumer, found: Found) -> None:
        """What is to be done after each poll."""
        begun = self._begin(consumer)
        # What this poll has brought of them may be from the place before.
        self._take({at: found[at] for at in found.keys() - begun})
        self._balance(consumer)
        self._commits.send(consumer)
        self._turns += 1
        self._heard_at = max(self._heard_at, _heard_at(consumer))
        self._polled_at = self._alive_at = time.monotonic()

    def _probe(self, consumer: KafkaConsumer) -> None:
        """Find the partition whose next record cannot be read, and hold it alone.

        Reading has failed again and again without a record. What the client raises does
        not say where, so partitions are read one by one.
        """
        everywhere = set(consumer.assignment())
        for place in sorted(everywhere):
            consumer.pause(*everywhere - {place})
            consumer.resume(place)
            try:
                found = consumer.poll(timeout_ms=PROBE_MS)
            except Exception as error:  # noqa: BLE001 - as above
                self._hold_unreadable(consumer, place, error)
                found = {}
            self._turn(consumer, found)
            if set(consumer.assignment()) != everywhere:
                return  # the group has rebalanced; who has it now finds out

    def _hold_unreadable(
        self, consumer: KafkaConsumer, place: TopicPartition, error: Exception
    ) -> None:
        self._held.add(place.partition)
        consumer.pause(place)
        logger.critical(
            "log.record_unreadable",
            partition=place.partition,
            offset=consumer.position(place),
            error=f"{type(error).__name__}: {error}",
            advice="the partition is held; keep the record with Kafka's tools, stop the "
            "executors, and set the group's offset behind it",
        )

    def _alarm(self, consumer: KafkaConsumer, error: OffsetOutOfRangeError) -> None:
        """Hold a partition whose next record is gone; never jump over what is missing."""
        [offsets] = error.args
        consumer.pause(*offsets)
        for place in offsets:
            self._held.add(place.partition)
        logger.critical(
            "log.records_missing",
            offsets={str(place.partition): offset for place, offset in offsets.items()},
            advice="records were deleted before they were executed; look into the "
            "topic's retention, then set the group's offset with Kafka's tools",
        )

    def _begin(self, consumer: KafkaConsumer) -> set[TopicPartition]:
        """Make assignments of the partitions that have become ours; gives them.

        Each begins at its commit: a partition that was ours before has kept the client's
        position, which is where we had read to, not what was done.
        """
        new, self._incoming = self._incoming, set()
        if not new:
            return new
        commits = committed(consumer, new)
        for place in sorted(new):
            self._begin_one(consumer, place, commits.get(place))
        partitions = sorted(place.partition for place in new)
        logger.info("partition.assigned", partitions=partitions)
        return new

    def _begin_one(
        self, consumer: KafkaConsumer, place: TopicPartition, committed: Any
    ) -> None:
        commit = None
        if committed is not None:
            commit = Commit(committed.offset, committed.metadata)
            consumer.seek(place, committed.offset)
        else:
            self._begin_without_commit(consumer, place)
        assignment = KafkaAssignment(self, place.partition, commit)
        self._assignments[place.partition] = assignment
        self._call(self._fresh.put_nowait, assignment)

    def _begin_without_commit(
        self, consumer: KafkaConsumer, place: TopicPartition
    ) -> None:
        """Write down where a new group starts. A commit that is gone is an alarm.

        In a partition that has records, a group that has done them all and lost its
        offsets looks like a new one: running everything again is nobody's wish.
        """
        start = consumer.beginning_offsets([place], timeout_ms=CALL_MS)[place]
        end = consumer.end_offsets([place], timeout_ms=CALL_MS)[place]
        consumer.seek(place, start)
        if start == end:
            offsets = {place: OffsetAndMetadata(start, "", -1)}
            consumer.commit(offsets, timeout_ms=CALL_MS)
            return
        self._held.add(place.partition)
        consumer.pause(place)
        logger.critical(
            "log.commit_missing",
            partition=place.partition,
            first=start,
            end=end,
            advice="the group's offset is gone (expired, or the group was deleted) or was "
            "never written; stop the executors and set it: kafka-consumer-groups "
            "--reset-offsets, with --to-earliest to run all events (again)",
        )

    def _take(self, found: Found) -> None:
        woken = []
        for place, records in found.items():
            self._taken += len(records)
            assignment = self._assignments.get(place.partition)
            if assignment is not None:
                assignment.put([as_record(record) for record in records])
                woken.append(assignment)
        if woken:
            self._call(_wake, woken)

    def _balance(self, consumer: KafkaConsumer) -> None:
        """Pause what is full, resume what has room."""
        paused = {place.partition for place in consumer.paused()}
        share = share_bytes(len(self._assignments))
        for partition, assignment in self._assignments.items():
            place = TopicPartition(self._name, partition)
            full = assignment.is_full(share)
            if full and partition not in paused:
                consumer.pause(place)
            elif partition in paused - self._held and not full:
                consumer.resume(place)

    # On the client's own thread, while the group rebalances.

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Have what runs ended and committed, within the limit, before others begin."""
        ending = self._taken_from_us(revoked)
        self._end(ending, lost=False)
        deadline = time.monotonic() + self._drain_s
        consumer = self._consumer
        while not all(one.released.is_set() for one in ending):
            if consumer is not None:
                self._commits.send(consumer)
            self._polled_at = time.monotonic()
            if self._polled_at > deadline:
                logger.warning("partition.drain_cut_short")
                break
            # On the client's own loop, which is no asyncio: its way to sleep.
            await KernelEvent("_sleep", 0.005)
        self._end(ending, lost=True)
        self._commits.fail(closed=self._stopping.is_set())
        if ending:
            logger.info(
                "partition.revoked", partitions=sorted(one.partition for one in ending)
            )

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Note them; the reader's thread begins them after the poll that brought them."""
        self._heard_at = time.monotonic()
        self._incoming |= assigned

    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        """Others have them already."""
        ending = self._taken_from_us(lost)
        self._end(ending, lost=True)
        self._commits.fail(closed=self._stopping.is_set())
        if ending:
            logger.warning(
                "partition.lost", partitions=sorted(one.partition for one in ending)
            )

    def _taken_from_us(self, places: set[TopicPartition]) -> list[KafkaAssignment]:
        """End our part in them. Commits go out until they are released, not later."""
        self._incoming.clear()
        self._held.clear()
        found = (self._assignments.pop(place.partition, None) for place in places)
        return [assignment for assignment in found if assignment is not None]

    def _end(self, assignments: list[KafkaAssignment], *, lost: bool) -> None:
        for assignment in assignments:
            assignment.end(lost=lost)
        self._call(_wake, assignments)

    def _call(self, function: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._stopping.set()  # the loop has ended


def _wake(assignments: list[KafkaAssignment]) -> None:
    for assignment in assignments:
        assignment.wake()


def _is_member(consumer: KafkaConsumer) -> bool:
    """Whether the client believes to be in the group, and need not join it again."""
    coordinator = consumer._coordinator  # noqa: SLF001 - nothing public tells
    return not (coordinator.coordinator_unknown() or coordinator.need_rejoin())


def _heard_at(consumer: KafkaConsumer) -> float:
    """When the last heartbeat was sent that was answered; the group counts from there."""
    # The public metrics tell only when one was sent, not whether it was answered; and the
    # client's own clock is set back by any answer of a coordinator.
    heartbeat = consumer._coordinator.heartbeat  # noqa: SLF001
    sent, received = heartbeat.last_send, heartbeat.last_receive
    return float(sent) if received >= sent else -math.inf
