"""What stands in a log when all has been done: when events were accepted, tried, ended."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from hookline.cli.log_place import open_place, parse_place, topics_of
from hookline.log import Log, Record, Topic
from hookline.settings import Settings
from hookline.v1 import event_pb2, execution_pb2


@dataclass(frozen=True, slots=True)
class Run:
    """An event that has run: where it stands in the log, and its times."""

    flow_id: str
    partition: int
    offset: int
    accepted_at_us: int
    started_at_us: int
    ended_at_us: int

    @property
    def took_ms(self) -> float:
        return (self.ended_at_us - self.accepted_at_us) / 1000


@dataclass(slots=True)
class Written:
    """What has ended, of each partition in the order in which that was written down.

    `due_us` are the times at which further attempts were to come, by flow, in order.
    """

    runs: list[Run] = field(default_factory=list)
    due_us: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def take(self, partition: int, entry: execution_pb2.JournalEntry, at: int) -> None:
        """A record of the journal; its event was accepted then."""
        if entry.progress.HasField("failed"):
            self.due_us[entry.flow_id].append(entry.progress.failed.next_at_us)
        if entry.HasField("ended"):
            ended = entry.ended
            times = (at, ended.started_at_us, ended.ended_at_us)
            self.runs.append(Run(entry.flow_id, partition, entry.event_offset, *times))


def written_in(log: str, environment: Mapping[str, str]) -> Written:
    """What its events and its journal say; nothing else may have an embedded log open."""
    return asyncio.run(_read(log, {**os.environ, **environment}))


async def _read(log: str, environment: Mapping[str, str]) -> Written:
    place, settings = parse_place(log), Settings.read(environment)
    topics = topics_of(place, settings)
    written = Written()
    async with open_place(place, topics, settings, lambda _: None) as opened:
        for partition in range(topics.events.partitions):
            accepted: dict[int, int] = {}
            async for record in _records(opened, topics.events, partition):
                event = event_pb2.Event.FromString(record.value or b"")
                accepted[record.offset] = event.accepted_at_us
            async for record in _records(opened, topics.executions, partition):
                entry = execution_pb2.JournalEntry.FromString(record.value or b"")
                at = accepted.get(entry.event_offset, 0)
                written.take(partition, entry, at)
    return written


async def _records(log: Log, topic: Topic, partition: int) -> AsyncIterator[Record]:
    bounds = await log.bounds(topic, partition)
    async for batch in log.read(topic, partition, bounds.start, bounds.end):
        for record in batch:
            yield record
