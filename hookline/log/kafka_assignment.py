"""Stop 5 on Kafka: one partition while this member of the group owns it.

A bounded buffer between the reader's thread, which fills it, and the loop, which takes.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Protocol

from hookline.errors import Unavailable
from hookline.log import Commit, Record

BATCH: Final = 1_000
BATCH_BYTES: Final = 256 * 1024
# A buffer above either of them is paused.
FULL_RECORDS: Final = 4_000
# Of all buffers of a member together; each has an even share of it, within bounds.
FULL_BYTES: Final = 16 * 1024 * 1024
LARGEST_SHARE_BYTES: Final = 4 * 1024 * 1024
SMALLEST_SHARE_BYTES: Final = 256 * 1024


class Member(Protocol):
    """What an assignment asks of the member that has it."""

    def in_touch(self) -> bool:
        """Whether the group still counts on it."""
        ...

    async def commit(self, partition: int, commit: Commit) -> None:
        """Keep how far the group has come. Raises Unavailable."""
        ...


class KafkaAssignment:
    """One partition while this member owns it; made and ended by the reader's thread."""

    def __init__(
        self, member: Member, partition: int, committed: Commit | None
    ) -> None:
        self.partition = partition
        self.committed = committed
        self.released = threading.Event()
        self._member = member
        self._batches: deque[list[Record]] = deque()
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._ended = False
        self._lost = False
        # Written by the reader's thread and by the loop, each its own sum.
        self._put_records = self._put_bytes = 0
        self._taken_records = self._taken_bytes = 0

    async def records(self) -> AsyncIterator[Sequence[Record]]:
        """Batches from the commit on; ends when ownership ends."""
        while True:
            while self._batches and not self._ended:
                batch = self._batches.popleft()
                self._taken_records += len(batch)
                self._taken_bytes += size_of(batch)
                yield batch
            if self._ended:
                return
            await self._news.wait()
            self._news.clear()

    def owned(self) -> bool:
        """Whether the partition is ours beyond doubt; false while the group is silent."""
        return not self._lost and self._member.in_touch()

    async def wait_ended(self) -> None:
        """Return when the partition is to be given away, or is lost."""
        await self._over.wait()

    async def commit(self, commit: Commit) -> None:
        """Keep how far the group has come. Raises Unavailable: perhaps kept."""
        if self._lost:
            raise Unavailable("The partition belongs to another member now.")
        await self._member.commit(self.partition, commit)

    def release(self) -> None:
        """Nothing of it is running any more."""
        self.released.set()

    def put(self, records: list[Record]) -> None:
        """Add what was read; called by the reader's thread."""
        self._put_records += len(records)
        self._put_bytes += size_of(records)
        self._batches.extend(batches_of(records))

    def wake(self) -> None:
        """Something has come, or ownership has ended; called on the loop."""
        self._news.set()
        if self._ended:
            self._over.set()

    def is_full(self, share_bytes: int = LARGEST_SHARE_BYTES) -> bool:
        """Whether more waits than is kept in memory."""
        return (
            self._put_records - self._taken_records > FULL_RECORDS
            or self._put_bytes - self._taken_bytes > share_bytes
        )

    def end(self, *, lost: bool) -> None:
        """Give no more records; `lost`: others may have it by now."""
        self._ended = True
        self._lost = self._lost or lost


def share_bytes(assignments: int) -> int:
    """What each of so many buffers may hold, however large the records are."""
    share = FULL_BYTES // max(1, assignments)
    return min(max(share, SMALLEST_SHARE_BYTES), LARGEST_SHARE_BYTES)


def batches_of(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in batches of a bounded length and size; one alone may be larger."""
    batch: list[Record] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch


def size_of(records: Sequence[Record]) -> int:
    """The bytes of records' values."""
    return sum(len(record.value or b"") for record in records)
