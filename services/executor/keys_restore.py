"""What a new owner knows of keys: a snapshot of them, and the events behind it once more.

The commit's metadata names where in the journal the newest snapshot stands. What it covers
is read no further back than that; the events from there up to the commit are decided
again, which comes to the same. Which repeats have not ended is in each checkpoint, so that
it is known without what came before.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from hookline.errors import Unavailable
from hookline.log import Log, Record, Topic
from hookline.telemetry import get_logger
from hookline.v1 import execution_pb2
from services.executor.keys import MOST_KEYS, Keys, Repeat, Snapshot

PAUSE_S: Final = 0.5
# Snapshots are written so seldom that they add no more than so many bytes an event.
BYTES_AN_EVENT: Final = 128
FEWEST_EVENTS: Final = 2_000
# Where little is read: no more than so many bytes a second.
BYTES_A_SECOND: Final = 10_000
logger = get_logger(__name__)


class KeysMark(msgspec.Struct, frozen=True):
    """What a bookmark says of keys.

    The newest snapshot has this number, covers the events before `since`, and stands at
    begins <= offset < ends of the journal; number 0: there is none. Which events before
    `covers` are repeats is in the checkpoint that the bookmark names.
    """

    begins: int = 0
    ends: int = 0
    number: int = 0
    since: int = 0
    covers: int = 0


@dataclass(slots=True)
class Decided:
    """What the journal says of repeats, from a bookmark on."""

    repeats: dict[int, Repeat] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def take(self, entry: execution_pb2.JournalEntry) -> None:
        """The next record that counts."""
        match entry.WhichOneof("entry"):
            case "ended":
                self.ended.add(entry.event_offset)
            case "checkpoint":
                self.ended.update(accumulate(entry.checkpoint.ended.distances))
                for one in entry.checkpoint.repeats.repeats:
                    repeat = Repeat(one.first_offset, one.conflict)
                    self.repeats[one.event_offset] = repeat

    def open(self) -> dict[int, Repeat]:
        """Repeats that have not ended."""
        return {o: one for o, one in self.repeats.items() if o not in self.ended}


@dataclass(frozen=True, slots=True)
class KeysReader:
    """Reads keys of partitions back."""

    log: Log
    events: Topic
    journal: Topic
    most_keys: int = MOST_KEYS

    async def restore(
        self, partition: int, committed: int, mark: KeysMark | None, decided: Decided
    ) -> Keys:
        """The keys of all events before the commit; tries until the log answers.

        Without a mark nothing was ever said of keys: those behind the commit count.
        """
        mark = mark or KeysMark(since=committed)
        keys = Keys(
            mark.since,
            decided_below=mark.covers,
            ended=decided.ended,
            most_keys=self.most_keys,
        )
        while True:
            try:
                if mark.number:
                    await self._load(keys, partition, mark)
                await self._read_on(keys, partition, committed)
            except Unavailable as error:
                logger.warning("keys.delayed", partition=partition, error=str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                keys.repeats.update(decided.open())
                return keys

    async def _load(self, keys: Keys, partition: int, mark: KeysMark) -> None:
        """Begin at a snapshot; where it is gone, with what the events behind it say.

        It goes when the journal is trimmed, which is when what it held has long expired.
        """
        keys.begin_anew(mark.since)
        packed = await self._packed(partition, mark)
        try:
            keys.load(packed)
        except ValueError:
            logger.warning("keys.snapshot_gone", partition=partition, since=mark.since)

    async def _packed(self, partition: int, mark: KeysMark) -> bytes:
        parts: dict[int, bytes] = {}
        async for record in self._records(
            self.journal, partition, mark.begins, mark.ends
        ):
            try:
                entry = execution_pb2.JournalEntry.FromString(record.value or b"")
            except DecodeError:
                continue
            part = entry.checkpoint.keys
            if part.number == mark.number:
                parts[part.part] = part.rows
        return b"".join(parts[number] for number in sorted(parts))

    async def _read_on(self, keys: Keys, partition: int, committed: int) -> None:
        if keys.covers < committed:
            batches = self.log.read(self.events, partition, keys.covers, committed)
            async for batch in batches:
                keys.read(batch)
        keys.covers = max(keys.covers, committed)

    async def _records(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Record]:
        async for batch in self.log.read(topic, partition, start, end):
            for record in batch:
                yield record


@dataclass(slots=True)
class KeysWriting:
    """When the next snapshot of keys is due, and where the last one stands."""

    keys: Keys
    mark: KeysMark
    interval_s: float
    clock: Callable[[], float] = time.monotonic
    written_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.written_at = self.clock()

    def here(self) -> KeysMark:
        """For a bookmark that is made now."""
        return msgspec.structs.replace(self.mark, covers=self.keys.covers)

    def written(self, snapshot: Snapshot, begins: int, ends: int) -> KeysMark:
        """A snapshot is durable in this range of the journal."""
        number, covers = snapshot.number, snapshot.covers
        self.written_at = self.clock()
        self.mark = KeysMark(begins, ends, number, since=covers, covers=covers)
        return self.mark

    def is_due(self) -> bool:
        """Whether so much has been read since the last one that it is worth its bytes.

        Where little is read, from time to time: the events since are not trimmed.
        """
        since, size = self.keys.covers - self.mark.since, self.keys.size_bytes
        if since >= max(FEWEST_EVENTS, size // BYTES_AN_EVENT):
            return True
        least_s = max(self.interval_s, size / BYTES_A_SECOND)
        return since > 0 and self.clock() - self.written_at >= least_s
