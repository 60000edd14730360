"""Stop 5 on Kafka: commits on their way from the loop to the reader's thread, and back.

The newest of a partition counts for all before it: one request for what has gathered.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from hookline.errors import Unavailable
from hookline.log import Commit

CALL_MS: Final = 5_000
# Has the loop call a function; nothing happens where it has ended.
Call = Callable[..., None]
Futures = list["asyncio.Future[None]"]


class Commits:
    """The commits of one member of a group."""

    def __init__(self, topic_name: str, call: Call) -> None:
        self._topic_name = topic_name
        self._call = call
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: dict[int, tuple[Commit, Futures]] = {}

    async def add(self, partition: int, commit: Commit) -> None:
        """Return when it is kept. Raises Unavailable: perhaps kept."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise Unavailable("The member has left the group.")
            _, waiting = self._waiting.get(partition, (commit, []))
            waiting.append(future)
            self._waiting[partition] = commit, waiting
        await future

    # In the thread.

    def send(self, consumer: KafkaConsumer) -> None:
        """Send what has gathered."""
        if consumer._coordinator.coordinator_unknown():  # noqa: SLF001
            return  # it would be called kept when the coordinator is found
        commits = self._take()
        if not commits:
            return
        offsets = {
            TopicPartition(self._topic_name, partition): OffsetAndMetadata(
                commit.offset, commit.metadata, -1
            )
            for partition, (commit, _) in commits.items()
        }
        futures = [future for _, waiting in commits.values() for future in waiting]
        sent = consumer.commit_async(offsets)
        sent.add_callback(lambda _: self._call(_settle, futures, None))
        sent.add_errback(lambda error: self._call(_settle, futures, error))

    def fail(self, *, closed: bool) -> None:
        """Fail what waits; once `closed`, what comes as well."""
        with self._lock:
            self._closed = closed
            commits, self._waiting = self._waiting, {}
        futures = [future for _, waiting in commits.values() for future in waiting]
        if futures:
            self._call(_settle, futures, KafkaError("the member has left the group"))

    def _take(self) -> dict[int, tuple[Commit, Futures]]:
        with self._lock:
            commits, self._waiting = self._waiting, {}
        return commits


def _settle(futures: Futures, error: BaseException | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            kind = type(error).__name__.removesuffix("Error")
            future.set_exception(Unavailable(f"The commit was not kept ({kind})."))
            future.exception()  # who committed may have left


def committed(consumer: KafkaConsumer, places: set[TopicPartition]) -> dict[Any, Any]:
    """The commits of partitions, in one question; `committed` asks for one at a time."""
    coordinator = consumer._coordinator  # noqa: SLF001
    found: dict[Any, Any] = coordinator.fetch_committed_offsets(
        list(places), timeout_ms=CALL_MS
    )
    return found
