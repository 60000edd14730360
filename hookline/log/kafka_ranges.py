"""Reading Kafka outside of any group: from an offset to an offset, and bounds.

One thread owns the clients; nothing else touches them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import OffsetOutOfRangeError

from hookline.errors import Unavailable
from hookline.log import Bounds, Record, Topic
from hookline.log.kafka_cluster import Cluster
from hookline.telemetry import get_logger

READ_S: Final = 5.0
FETCH_BYTES: Final = 4 * 1024 * 1024
# Reads of so few records fetch little: a fetch of the usual size is a thousand records.
FEW: Final = 500
FEW_BYTES: Final = 64 * 1024
AGAIN_WITHIN_S: Final = 1.0
logger = get_logger(__name__)


def reading_options(largest_record_bytes: int) -> dict[str, Any]:
    """What every consumer is told: nothing is decoded, no offset is ever made up."""
    return {
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
        "request_timeout_ms": 10_000,
        "metrics_enabled": False,
        "fetch_max_bytes": max(2 * FETCH_BYTES, largest_record_bytes),
        "max_partition_fetch_bytes": FETCH_BYTES // 4,
        "max_poll_records": 2**31 - 1,
    }


def as_record(found: Any) -> Record:
    """A record of kafka-python as ours."""
    return Record(
        found.partition, found.offset, found.timestamp, found.key or b"", found.value
    )


class _Client:
    """A consumer, made when it is first needed, and what it would read next."""

    def __init__(self, cluster: Cluster, options: dict[str, Any]) -> None:
        self._cluster = cluster
        self._options = options
        self._consumer: KafkaConsumer | None = None
        self._next: tuple[TopicPartition, int] | None = None

    def opened(self) -> KafkaConsumer:
        """The consumer."""
        if self._consumer is None:
            self._consumer = self._cluster.connect(KafkaConsumer, **self._options)
        return self._consumer

    def read_some(
        self, place: TopicPartition, start: int, end: int
    ) -> tuple[list[Record], int]:
        """A batch, and the offset to go on from; the batch may be empty at a gap."""
        consumer = self.opened()
        if self._next != (place, start):
            consumer.assign([place])
            consumer.seek(place, start)
        self._next = None
        # What a fetch brings beyond is parked, and costs nothing unless it is asked for.
        found = consumer.poll(timeout_ms=int(READ_S * 1000), max_records=end - start)
        records = [as_record(one) for one in found.get(place, ()) if one.offset < end]
        position = consumer.position(place, timeout_ms=int(READ_S * 1000))
        if position is None or position <= start:
            raise Unavailable("The log cannot be read now: no broker sent anything.")
        self._next = (place, position)
        return records, position

    def drop(self) -> None:
        """End the consumer; the next one is made when it is needed."""
        consumer, self._consumer, self._next = self._consumer, None, None
        if consumer is not None:
            close_consumer(consumer)


class Ranges:
    """Reads and bounds; what is asked for in small parts has a client of its own."""

    def __init__(self, cluster: Cluster, largest_record_bytes: int) -> None:
        options = reading_options(largest_record_bytes)
        few = {"max_partition_fetch_bytes": FEW_BYTES}
        self._client = _Client(cluster, options)
        self._client_of_few = _Client(cluster, options | few)
        self._cluster = cluster
        self._thread = ThreadPoolExecutor(1, "log-reader")
        # What was there when it was asked last; forgotten when a read fails.
        self._known: dict[TopicPartition, Bounds] = {}
        self._asked: dict[TopicPartition, list[asyncio.Future[Bounds]]] = {}
        self._answering: set[asyncio.Future[None]] = set()

    async def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records that are durable now, in batches. Raises Unavailable."""
        place = TopicPartition(self._cluster.name_of(topic.name), partition)
        bounds = self._known.get(place)
        if bounds is None or start < bounds.start or end > bounds.end:
            bounds = await self.bounds(topic, partition)
        start, end = max(start, bounds.start), min(end, bounds.end)
        client = self._client if end - start > FEW else self._client_of_few
        while start < end:
            try:
                batch, start = await self._run(client.read_some, place, start, end)
            except OffsetOutOfRangeError as error:
                # Trimmed since its bounds were asked for: what is left is read.
                bounds = await self.bounds(topic, partition)
                if bounds.start <= start:
                    raise Unavailable(f"The log cannot be read now: {error}") from error
                start = bounds.start
                continue
            if batch:
                yield batch

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Where a partition starts and ends; asked together, answered together."""
        place = TopicPartition(self._cluster.name_of(topic.name), partition)
        answer: asyncio.Future[Bounds] = asyncio.get_running_loop().create_future()
        waiting = self._asked.setdefault(place, [])
        waiting.append(answer)
        if len(waiting) == 1 and len(self._asked) == 1:
            # Nobody's leaving takes the answer from the others.
            answering = asyncio.ensure_future(self._answer_all(self._asked))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)
        return await answer

    async def _answer_all(
        self, asked: dict[TopicPartition, list["asyncio.Future[Bounds]"]]
    ) -> None:
        found: dict[TopicPartition, Bounds] = {}
        missing = Unavailable("The log is closing: try again later.")
        try:
            await asyncio.sleep(0)  # others may ask in this turn of the loop, too
            self._asked = {}
            found = await self._run(self._bounds_of, list(asked))
        except Unavailable as error:
            missing = error
        finally:
            if self._asked is asked:
                self._asked = {}
            for place, answers in asked.items():
                _settle(answers, found.get(place, missing))

    def _bounds_of(self, places: Sequence[TopicPartition]) -> Any:
        consumer = self._client.opened()
        timeout_ms = int(READ_S * 1000)
        starts = consumer.beginning_offsets(places, timeout_ms=timeout_ms)
        ends = consumer.end_offsets(places, timeout_ms=timeout_ms)
        found = {place: Bounds(starts[place], ends[place]) for place in places}
        self._known |= found
        return found

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, self._guarded, function, *arguments
        )

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run it; once more on a new client where the first one failed at once."""
        begun = time.monotonic()
        try:
            return self._tried(function, *arguments)
        except Unavailable:
            if time.monotonic() - begun >= AGAIN_WITHIN_S:
                raise
            return self._tried(function, *arguments)

    def _tried(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (Unavailable, OffsetOutOfRangeError):
            self._drop()
            raise
        except Exception as error:
            # The client's own faults are not all KafkaErrors; a new one mends them.
            self._drop()
            logger.warning("log.read_failed", error=type(error).__name__)
            text = f"The log cannot be read now: {type(error).__name__}"
            raise Unavailable(text) from error

    def _drop(self) -> None:
        self._known.clear()
        self._client.drop()
        self._client_of_few.drop()

    async def close(self) -> None:
        """End the client; whoever still asks is told so."""
        await asyncio.gather(*self._answering)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)


def _settle(
    answers: list["asyncio.Future[Bounds]"], found: Bounds | Unavailable
) -> None:
    for answer in answers:
        if answer.done():
            continue
        if isinstance(found, Unavailable):
            answer.set_exception(found)
            answer.exception()  # who asked may have left
        else:
            answer.set_result(found)


def close_consumer(consumer: KafkaConsumer) -> None:
    """Close, whatever state it is in; leaves its group if it is in one."""
    try:
        consumer.close(autocommit=False, timeout_ms=2_000)
    except Exception as error:  # noqa: BLE001 - it is given up, whatever it says
        logger.warning("log.consumer_close_failed", error=type(error).__name__)
