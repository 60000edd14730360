"""Looks into a log for what the checker judges: events, the journal, dead letters, commits.

The same for both logs: `Looking` reads topics, whichever file or brokers they are in.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import msgspec

from hookline.claims import Fence
from hookline.errors import Unavailable
from hookline.log import Bounds, Record, Topic
from hookline.log.sqlite_store import Store, tables_of
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from services.executor.serve import GROUP
from tests.faults.evidence import Journaled, Logged, Run, Snapshot, Status
from tests.waiting import until_asked

STATUS: dict[int, Status] = {
    execution_pb2.STATUS_COMPLETED: "completed",
    execution_pb2.STATUS_FILTERED: "filtered",
    execution_pb2.STATUS_FAILED: "dead",
    execution_pb2.STATUS_DUPLICATE: "duplicate",
}
FOREVER = 2**62


class Readable(Protocol):
    """As much of a log as is needed to look into it."""

    def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records that are durable now."""
        ...

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Where a partition starts and ends now."""
        ...

    async def commits(self) -> Sequence[int]:
        """How far the executors have come in each partition."""
        ...


class SqliteFile:
    """The file of an embedded log, whether its process lives or not; reads only."""

    def __init__(self, store: Store, topics: Topics) -> None:
        self._store = store
        self._tables = tables_of(topics.all)
        self._events = topics.events

    async def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records that are durable now, in batches."""
        table = self._tables[topic.name, partition]
        while batch := await asyncio.to_thread(
            self._store.read, table, start, end, 512
        ):
            yield batch
            start = batch[-1].offset + 1

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Where a partition starts and ends now."""
        table = self._tables[topic.name, partition]
        return await asyncio.to_thread(self._store.bounds, table)

    async def commits(self) -> Sequence[int]:
        """How far the executors have come in each partition."""
        name, partitions = self._events.name, range(self._events.partitions)
        commits = [
            await asyncio.to_thread(
                self._store.committed, GROUP, self._tables[name, partition]
            )
            for partition in partitions
        ]
        return [commit.offset if commit else 0 for commit in commits]


@contextmanager
def sqlite_file(data: Path, topics: Topics) -> Iterator[SqliteFile]:
    """Open the file of a data directory to look into it."""
    store = Store(data, tables_of(topics.all), read_only=True)
    try:
        yield SqliteFile(store, topics)
    finally:
        store.close()


class Looking:
    """Reads what is in the topics; each partition from where it was left."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._fences: dict[int, Fence] = defaultdict(Fence)
        self._next: dict[tuple[str, int], int] = {}
        self.logged: list[Logged] = []
        self.runs: list[Run] = []
        self.journaled: list[Journaled] = []
        self.letters: list[str] = []
        # What the commit may pass though it has not ended, by partition.
        self.passed: dict[int, set[int]] = defaultdict(set)

    async def look(self, log: Readable) -> None:
        """Read what has come."""
        topics = self._topics
        async for record in self._fresh(log, topics.events):
            self.logged.append(_logged(record))
        async for record in self._fresh(log, topics.executions):
            self._take_entry(record)
        async for record in self._fresh(log, topics.dead_letters):
            letter = execution_pb2.DeadLetter.FromString(record.value or b"")
            self.letters.append(letter.event.id)

    async def looked(self, log: Readable) -> bool:
        """The same, where the log may not answer at once; tells whether it has.

        If not, another look goes on where this one has stopped.
        """
        try:
            await self.look(log)
        except Unavailable:
            return False
        return True

    def snapshots(self, commits: Sequence[int]) -> list[Snapshot]:
        """The partitions as they were read, after these commits."""
        return [
            Snapshot(
                partition,
                committed,
                frozenset(r.offset for r in self.logged if r.partition == partition),
                frozenset(
                    r.event_offset for r in self.runs if r.partition == partition
                ).union(self.passed[partition]),
            )
            for partition, committed in enumerate(commits)
        ]

    def is_behind(self, commits: Sequence[int]) -> bool:
        """Whether something was read that has not ended, or is not committed."""
        ended = {run.position for run in self.runs}
        return any(
            record.position not in ended or record.offset >= commits[record.partition]
            for record in self.logged
        )

    async def _fresh(self, log: Readable, topic: Topic) -> AsyncIterator[Record]:
        for partition in range(topic.partitions):
            place = topic.name, partition
            _, end = await log.bounds(topic, partition)
            async for batch in log.read(
                topic, partition, self._next.get(place, 0), end
            ):
                for record in batch:
                    yield record
                    self._next[place] = record.offset + 1

    def _take_entry(self, record: Record) -> None:
        entry = execution_pb2.JournalEntry.FromString(record.value or b"")
        if not self._fences[record.partition].admits(entry):
            return
        for said in (entry.passed, entry.checkpoint.passed):
            for lane in said.lanes:
                self.passed[record.partition].update(accumulate(lane.distances))
        at_us = record.appended_at_ms * 1000 + 999
        for step in _done(entry):
            self.journaled.append(Journaled(entry.event_id, step, at_us))
        if not entry.HasField("ended"):
            return
        self.runs.append(_run(record.partition, entry))
        if entry.ended.status == execution_pb2.STATUS_DUPLICATE:
            return  # nothing has run
        self.journaled.append(Journaled(entry.event_id, "", at_us))


def _done(entry: execution_pb2.JournalEntry) -> list[str]:
    """The steps whose messages an entry keeps."""
    return [one.made_by for one in entry.progress.moved.waiting if one.made_by]


def _logged(record: Record) -> Logged:
    event = event_pb2.Event.FromString(record.value or b"")
    body = msgspec.json.decode(event.request.body)
    return Logged(
        record.partition,
        record.offset,
        event.id,
        event.flow_id,
        body.get("caller", ""),
        body["number"],
        record.appended_at_ms * 1000,
    )


def _run(partition: int, entry: execution_pb2.JournalEntry) -> Run:
    ended = entry.ended
    return Run(
        partition,
        entry.event_offset,
        entry.event_id,
        STATUS[ended.status],
        ended.started_at_us,
        ended.ended_at_us,
    )


async def drain(looking: Looking, log: Readable, seconds: float = 60.0) -> None:
    """Read on until everything has ended and is committed: no lag is left."""

    async def drained() -> bool:
        commits = await log.commits()
        return await looking.looked(log) and not looking.is_behind(commits)

    await until_asked(drained, seconds)
