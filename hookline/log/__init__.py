"""Stop 5: the log, the one seam of the house. A contract; `sqlite` and `kafka` keep it.

A log has topics, a topic has partitions, a partition is a row of records. A record's
offset is its number in the partition: it grows, it is never given twice, and numbers may
be missing. A position names a record: partition and offset. Where an offset means "from
here", it is that of the *next* record to read; a `Commit` holds such an offset, so what
has been done is everything before it.

    offsets    3   4   5   7   8
               ^           ^       ^
             start      commit    end        start <= commit <= end

**Keys.** The partition follows from the key: murmur2, as Kafka's default partitioner
computes it. Records of one key are in one partition, in the order they were appended.

**Append.** The returned future is done when the record is durable, and not before: it
outlives a crash of the process and a power cut. Two appends of one caller to one key,
made one after the other, are in the log in that order, also when neither has been awaited
in between. If the future fails with `Unavailable` the record *may or may not* be in the
log, now or after a restart; so a repeated append may leave it there twice. Now and then
a record is there twice though its future did not fail; every reader must tolerate a
record that was seen before. `TooLarge` means that the record was refused, and is not in
the log; `NotAppended`, which is an `Unavailable`, that the log did not begin to take it:
it is not there either. The future fails within the log's append deadline, whatever the
disk or the network does; a full buffer, or a log that closes, fails it at once and so.

**Assignments.** The partitions of a topic are shared among the members of a group: each
partition belongs to at most one. An assignment begins where the group's last commit
stands, or at the partition's start where the group has never committed; where a commit is
gone, or points at what is gone, it gives nothing and says so in a line. Its records come
in offset order, in batches, and reading ahead stops while nobody asks for the next batch.
When ownership ends the record iterator ends, it does not raise; what is still running is
finished or abandoned, then `release` is called. After a crash or a change of owner,
records behind the last commit come again.

**Compacted topics** keep, for each key, the newest record; older ones of a key may be
there for a while, before it. A record without a value takes the key out. `follow` reads
all of it in order, says once that it has caught up, and goes on with what comes.

**Bounded topics** forget their oldest records by themselves: in each partition those
beyond so many bytes, and those older than that, now or somewhat later.

**Trim** forgets records before an offset. Reading them afterwards gives nothing.
"""

from asyncio import Future
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol

__all__ = [
    "CAUGHT_UP",
    "Assignment",
    "Bound",
    "Bounds",
    "CaughtUp",
    "Commit",
    "Log",
    "Position",
    "Record",
    "Topic",
    "partition_of",
]


class Bound(NamedTuple):
    """What a partition keeps: so many bytes of records, none older than that."""

    most_bytes: int
    most_age_s: int


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: its name without the prefix, its number of partitions, and its kind."""

    name: str
    partitions: int = 1
    compacted: bool = False
    bound: Bound | None = None


class Position(NamedTuple):
    """Where a record is."""

    partition: int
    offset: int


class Bounds(NamedTuple):
    """The offset of a partition's first record, and the offset its next will get."""

    start: int
    end: int


class Record(NamedTuple):
    """A record as it is read; `appended_at_ms` counts from 1970, UTC."""

    partition: int
    offset: int
    appended_at_ms: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Commit:
    """How far a group has come: the next offset, and up to 4,096 characters of its own."""

    offset: int
    metadata: str = ""


CaughtUp = Literal["caught up"]
CAUGHT_UP: Final[CaughtUp] = "caught up"


class Assignment(Protocol):
    """One partition for as long as this member owns it."""

    partition: int
    committed: Commit | None

    def records(self) -> AsyncIterator[Sequence[Record]]:
        """Batches in offset order from the commit on; ends when ownership ends."""
        ...

    def owned(self) -> bool:
        """Whether the partition is this member's beyond doubt; ask before each step."""
        ...

    async def wait_ended(self) -> None:
        """Return when ownership ends: at once start nothing more, then `release`."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Keep how far the group has come. `Unavailable`: perhaps kept; go on."""
        ...

    def release(self) -> None:
        """Nothing of this assignment is running any more; another may have it."""
        ...


class Log(Protocol):
    """Where events are durable. See the module's docstring for what each call promises."""

    @property
    def healthy(self) -> bool:
        """Whether it makes progress, as far as is known; it mends itself."""
        ...

    def append(self, topic: Topic, key: bytes, value: bytes | None) -> Future[Position]:
        """One future a record. `Unavailable`: unknown whether it is in the log.

        Unless it is `NotAppended`.
        """
        ...

    def has_room(self, records: int, size: int) -> bool:
        """Whether so many records, of so many bytes in all, fit into its buffer now.

        If they are appended before anything else happens, none is refused as too much.
        """
        ...

    def assignments(self, topic: Topic, group: str) -> AsyncIterator[Assignment]:
        """Partitions as they become this member's; never ends by itself."""
        ...

    def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records with start <= offset < end that are durable now, in batches."""
        ...

    def follow(self, topic: Topic) -> AsyncIterator[Sequence[Record] | CaughtUp]:
        """All of a compacted topic, then `CAUGHT_UP` once, then what comes."""
        ...

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Where a partition starts and ends now."""
        ...

    async def trim(self, topic: Topic, before: Position) -> None:
        """Forget the records of a partition before an offset."""
        ...


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2, as its Java clients compute it (seed 0x9747b28c)."""
    size = len(data)
    multiplier = 0x5BD1E995
    value = (0x9747B28C ^ size) & 0xFFFFFFFF
    whole = size & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little")
        word = (word * multiplier) & 0xFFFFFFFF
        word ^= word >> 24
        word = (word * multiplier) & 0xFFFFFFFF
        value = ((value * multiplier) & 0xFFFFFFFF) ^ word
    if whole < size:
        value ^= int.from_bytes(data[whole:], "little")
        value = (value * multiplier) & 0xFFFFFFFF
    value ^= value >> 13
    value = (value * multiplier) & 0xFFFFFFFF
    return value ^ (value >> 15)


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that records with this key are in."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
