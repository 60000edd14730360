"""Reading Kafka outside of any group: one compacted topic, from its start, for good.

A thread owns the client; nothing else touches it.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from hookline.log import CAUGHT_UP, CaughtUp, Record, Topic
from hookline.log.kafka_cluster import Cluster
from hookline.log.kafka_ranges import as_record, close_consumer, reading_options
from hookline.telemetry import get_logger

POLL_MS: Final = 200
PAUSE_S: Final = 0.5
# One that has heard nothing asks, so often, and is unwell after a few questions.
ASK_S: Final = 3.0
ASK_MS: Final = 2_000
SILENT_S: Final = 10.0
WAITING: Final = 4
logger = get_logger(__name__)


class Follower:
    """Reads one compacted topic from its start, and then what comes; never gives up."""

    def __init__(
        self, cluster: Cluster, largest_record_bytes: int, topic: Topic
    ) -> None:
        self._cluster = cluster
        self._options = reading_options(largest_record_bytes)
        self._place = TopicPartition(cluster.name_of(topic.name), 0)
        self._loop = asyncio.get_running_loop()
        self._batches: asyncio.Queue[Sequence[Record] | CaughtUp | None]
        self._batches = asyncio.Queue()
        self._room = threading.Semaphore(WAITING)
        self._stopping = threading.Event()
        self._position: int | None = None
        self._mark: int | None = None
        self._caught_up = False
        self._heard_at = self._asked_at = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, name=f"log-follow-{topic.name}", daemon=True
        )

    async def batches(self) -> AsyncIterator[Sequence[Record] | CaughtUp]:
        """Batches, `CAUGHT_UP` once, then what comes; ends when it is closed."""
        self._thread.start()
        while (batch := await self._batches.get()) is not None:
            self._room.release()
            yield batch

    @property
    def healthy(self) -> bool:
        """Whether the brokers have answered lately."""
        return time.monotonic() - self._heard_at < SILENT_S

    def close(self) -> None:
        """End the thread and the iteration."""
        self._stopping.set()
        self._batches.put_nowait(None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = None
            try:
                consumer = self._cluster.connect(KafkaConsumer, **self._options)
                self._follow(consumer)
            except Exception as error:  # noqa: BLE001 - whatever it is, a new client mends it
                logger.warning("log.follow_delayed", error=type(error).__name__)
                self._stopping.wait(PAUSE_S)
            finally:
                if consumer is not None:
                    close_consumer(consumer)

    def _follow(self, consumer: KafkaConsumer) -> None:
        place = self._place
        consumer.assign([place])
        if self._position is None:
            self._position = consumer.beginning_offsets([place], timeout_ms=10_000)[
                place
            ]
        if self._mark is None:
            self._mark = consumer.end_offsets([place], timeout_ms=10_000)[place]
        consumer.seek(place, self._position)
        while not self._stopping.is_set():
            self._tell_if_caught_up(consumer.position(place))
            try:
                found = consumer.poll(timeout_ms=POLL_MS).get(place, ())
            except OffsetOutOfRangeError:
                # Only the newest of each key counts here: start over at what there is.
                self._position = None
                raise
            if found:
                self._heard_at = time.monotonic()
                self._put([as_record(one) for one in found])
                self._position = consumer.position(place)
            self._ask_if_silent(consumer)

    def _ask_if_silent(self, consumer: KafkaConsumer) -> None:
        """Have a broker answer now and then: a poll that brings nothing does not tell."""
        if time.monotonic() - max(self._heard_at, self._asked_at) < ASK_S:
            return
        self._asked_at = time.monotonic()
        with suppress(KafkaError):
            consumer.end_offsets([self._place], timeout_ms=ASK_MS)
            self._heard_at = time.monotonic()

    def _tell_if_caught_up(self, position: int) -> None:
        if not self._caught_up and self._mark is not None and position >= self._mark:
            self._caught_up = True
            self._put(CAUGHT_UP)

    def _put(self, batch: Sequence[Record] | CaughtUp) -> None:
        while not self._room.acquire(timeout=POLL_MS / 1000):
            if self._stopping.is_set():
                return
        try:
            self._loop.call_soon_threadsafe(self._batches.put_nowait, batch)
        except RuntimeError:
            self._stopping.set()  # the loop has ended
