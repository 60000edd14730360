"""Stop 5 on Kafka, the writing side: a producer, and who replaces it when it is stuck.

Every record is acknowledged by all in-sync replicas, with one request in flight a
connection, so that order holds through retries without an idempotent producer (which one
refused record makes useless for ever). A lost answer can leave a record twice; the first
occurrences stay in order.
"""

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from kafka import TopicPartition
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from hookline.errors import Error, NotAppended, TooLarge, Unavailable
from hookline.log import Position
from hookline.log.kafka_cluster import Cluster
from hookline.log.kafka_producer import Network, Producer, Turn
from hookline.telemetry import get_logger

# What a record costs besides its bytes, here and in the client, until it is acknowledged.
OVERHEAD_BYTES: Final = 2_048
BATCH_BYTES: Final = 512 * 1024
# So long after a failure we do not call ourselves well, unless something succeeded since.
UNWELL_S: Final = 10.0
# What comes within it travels together: each batch and request costs the client more CPU
# than many records.
LINGER_MS: Final = 1
BLOCK_MS: Final = 50
LOAD_S: Final = 5.0
STUCK_S: Final = 3.0
COLLECT_S: Final = 10.0
LOOK_S: Final = 0.25
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0
TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
# What is wrong with one record or topic, not with the log.
REFUSALS: Final = (*TOO_LARGE, TopicAuthorizationFailedError)
logger = get_logger(__name__)


class Append:
    """A record on its way; its two methods are called on the client's thread."""

    __slots__ = ("future", "generation", "size", "writer")

    def __init__(
        self,
        writer: "Writer",
        generation: int,
        size: int,
        future: "asyncio.Future[Position]",
    ) -> None:
        self.writer = writer
        self.generation = generation
        self.size = size
        self.future = future

    def succeeded(self, metadata: Any) -> None:
        """The record is durable."""
        self.writer.tell(self, Position(metadata.partition, metadata.offset))

    def failed(self, error: BaseException) -> None:
        """Whether the record is in the log is unknown, or it was refused."""
        self.writer.tell(self, error)


class Writer:
    """Appends records; lives on one loop.

    `delivery_s` is how long the client tries. Call `start` once, then `append`.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic_names: Iterable[str],
        *,
        delivery_s: float,
        most_pending_bytes: int,
        largest_record_bytes: int,
        compression: str | None = None,
    ) -> None:
        self._cluster = cluster
        self._topic_names = tuple(topic_names)
        self._delivery_s = delivery_s
        self._most_pending_bytes = most_pending_bytes
        self._largest = largest_record_bytes
        self._compression = compression
        self._loop = asyncio.get_running_loop()
        self._turn = Turn(self._loop, threading.get_ident())
        self._producer: Producer | None = None
        self._generation = 0
        self._pending: dict[int, int] = {}
        self._pending_bytes = 0
        self._last_news = 0.0
        self._failed_at = -UNWELL_S
        self._told: deque[tuple[Append, Position | BaseException]] = deque()
        self._settle_is_due = False

    async def start(self) -> None:
        """Connect. Raises Unavailable where no broker answers in time."""
        try:
            self._producer = await asyncio.to_thread(self._make)
        except KafkaError as error:
            raise Unavailable(f"No broker answers: {error}") from error
        self._last_news = time.monotonic()

    @property
    def healthy(self) -> bool:
        """Whether there is a producer that acknowledges what it gets.

        After a failure it is called unwell until something succeeds, or a while: where
        nothing comes nothing can succeed.
        """
        unwell = time.monotonic() - self._failed_at < UNWELL_S
        return self._producer is not None and not self._is_stuck() and not unwell

    def append(
        self,
        name: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        future: "asyncio.Future[Position]",
    ) -> None:
        """Hand a record over; the future is settled on the loop."""
        producer = self._producer
        size = len(value or b"") + OVERHEAD_BYTES
        if producer is None or self._pending_bytes + size > self._most_pending_bytes:
            fail(future, NotAppended("The log takes no more now: try again later."))
            return
        generation = self._generation
        append = Append(self, generation, size, future)
        try:
            sent = producer.put(TopicPartition(name, partition), key, value)
        except KafkaError as error:
            fail(future, _refusal(error))
            return
        if not self._pending_bytes:
            self._last_news = time.monotonic()
        self._pending_bytes += size
        self._pending[generation] = self._pending.get(generation, 0) + size
        sent.add_callback(append.succeeded)
        sent.add_errback(append.failed)

    def has_room(self, records: int, size: int) -> bool:
        """Whether so many records would be taken now."""
        needed = self._pending_bytes + size + records * OVERHEAD_BYTES
        return self._producer is not None and needed <= self._most_pending_bytes

    def tell(self, append: Append, outcome: Position | BaseException) -> None:
        """Pass an outcome to the loop; one wake-up for all that come together."""
        self._told.append((append, outcome))
        if self._settle_is_due:
            return
        self._settle_is_due = True
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            return  # the loop has ended; nobody waits any more

    def _settle(self) -> None:
        # First the mark, then the outcomes: what is told from now on calls again.
        self._settle_is_due = False
        self._last_news = time.monotonic()
        while self._told:
            append, outcome = self._told.popleft()
            self._forget(append)
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, REFUSALS):
                    self._failed_at = self._last_news
                fail(append.future, _sentence(outcome))
                continue
            self._failed_at = -UNWELL_S
            if not append.future.done():
                append.future.set_result(outcome)

    def _forget(self, append: Append) -> None:
        left = self._pending.get(append.generation)
        if left is None:
            return  # counted off when its producer was given up
        self._pending_bytes -= append.size
        self._pending[append.generation] = left - append.size

    async def watch(self) -> None:
        """Replace a producer that has stopped acknowledging, until cancelled."""
        collected = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            if not self.healthy and time.monotonic() - collected > COLLECT_S:
                # The client leaves sockets of refused connections in cycles.
                gc.collect()
                collected = time.monotonic()
            if self._is_stuck():
                logger.error("log.producer_stuck", pending_bytes=self._pending_bytes)
                await self._replace()

    def _is_stuck(self) -> bool:
        """Whether it holds records for longer than the client may try, without a word."""
        silent_s = time.monotonic() - self._last_news
        return self._pending_bytes > 0 and silent_s > self._delivery_s + STUCK_S

    async def _replace(self) -> None:
        old, self._producer = self._producer, None
        self._pending_bytes -= self._pending.pop(self._generation, 0)
        self._generation += 1
        if old is not None:
            _end_in_thread(old, 0.0)
        pause_s = FIRST_PAUSE_S
        while self._producer is None:
            try:
                await self.start()
            except Unavailable as error:
                logger.warning("log.producer_delayed", error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def close(self, timeout_s: float) -> None:
        """Send what is waiting, within the time, and end the client's thread."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        ended = _end_in_thread(producer, timeout_s)
        await asyncio.to_thread(ended.wait, timeout_s + 1.0)
        await asyncio.sleep(0)  # what it told at the end is settled

    def _make(self) -> Producer:
        producer: Producer = self._cluster.connect(
            partial(Producer, self._largest),
            partial(Network, self._turn),
            acks="all",
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            retries=2**31,
            retry_backoff_ms=100,
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            compression_type=self._compression,
            request_timeout_ms=int(self._delivery_s * 1000 * 0.9),
            delivery_timeout_ms=int(self._delivery_s * 1000),
            max_block_ms=BLOCK_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        try:
            for name in self._topic_names:
                _load_partitions(producer, name)
        except BaseException:
            _end_in_thread(producer, 0.0)
            raise
        return producer


def _load_partitions(producer: Producer, name: str) -> None:
    """Have a producer know a topic before the first `send`. Raises KafkaError."""
    deadline = time.monotonic() + LOAD_S
    while True:
        try:
            producer.partitions_for(name)
        except KafkaTimeoutError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def fail(future: "asyncio.Future[Any]", error: Error) -> None:
    """Fail a future that may have been given up by who waited for it."""
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever appended may have left; that is no news


def _refusal(error: BaseException) -> Error:
    """Why the client did not take a record."""
    told = _sentence(error)
    return NotAppended(str(told)) if isinstance(told, Unavailable) else told


def _sentence(error: BaseException) -> Error:
    if isinstance(error, TOO_LARGE):
        return TooLarge("The event is larger than the log takes: send less at once.")
    if isinstance(error, TopicAuthorizationFailedError):
        logger.error("log.not_authorized", topic=str(error))
    return Unavailable(f"The log cannot be written now ({_kind(error)}): try later.")


def _kind(error: BaseException) -> str:
    return type(error).__name__.removesuffix("Error")


def _end_in_thread(producer: Producer, timeout_s: float) -> threading.Event:
    """Close a producer where it may hang without harm; tells when it has ended."""
    ended = threading.Event()

    def close() -> None:
        try:
            producer.close(timeout_s)
        except KafkaError as error:
            logger.warning("log.producer_close_failed", error=_kind(error))
            _force(producer)
        finally:
            ended.set()

    threading.Thread(target=close, name="log-producer-close", daemon=True).start()
    return ended


def _force(producer: Producer) -> None:
    """End its thread. `close` would first wait for what is pending, and give up on it."""
    sender = producer._sender  # noqa: SLF001
    sender.force_close()
    sender.join(1.0)
