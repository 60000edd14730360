"""What became of events, read from the log when somebody asks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hookline.claims import Fence
from hookline.event_ids import partition_of_id
from hookline.log import Log, Record, partition_of
from hookline.log.search import backwards, first_since, id_time_ms, records
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from services.console.journal_entries import LastEntries, end_of
from services.console.trimmed import why_missing

SKEW_MS = 5_000
TAIL_PAUSE_S = 0.2
# An event begins with its id.
ID_ENDS = 40
DUPLICATE = execution_pb2.STATUS_DUPLICATE


@dataclass(frozen=True, slots=True)
class Found:
    """An event where it stands, and how it has ended or why it is held."""

    record: Record
    event: event_pb2.Event
    ended: execution_pb2.ExecutionEnded | None


class History:
    """Reads `events` and `executions` without an index: newest first, by id, as they come.

    Ids hold their time, records theirs, so that an id is found by bisection. Those of
    events with an idempotency key hold their partition: its newest records are looked
    through.
    """

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._events = topics.events
        self._executions = topics.executions

    async def newest(self, flow_id: str, limit: int) -> list[Found]:
        """The newest events, newest first; of one flow where an id is given."""
        found = [
            found
            for partition in self._partitions(flow_id)
            for found in await self._newest_in(partition, flow_id, limit)
        ]
        found.sort(key=lambda one: one.event.accepted_at_us, reverse=True)
        return found[:limit]

    async def find(self, event_id: str) -> Found | None:
        """The event with this id."""
        partition = partition_of_id(event_id, self._events.partitions)
        if partition is not None:
            return await self._find_keyed(partition, event_id)
        accepted_ms = id_time_ms(event_id)
        if accepted_ms is None:
            return None
        for partition in range(self._events.partitions):
            record = await self._find_in(partition, event_id, accepted_ms)
            if record is not None:
                [found] = await self._with_last(partition, [record])
                return found
        return None

    async def _find_keyed(self, partition: int, event_id: str) -> Found | None:
        """The newest with this id among the newest records; one that is no repeat first.

        Ids of events with a key hold their partition, and no time.
        """
        wanted = event_id.encode()
        newest: Found | None = None
        async for record in backwards(self._log, self._events, partition):
            if wanted not in (record.value or b"")[:ID_ENDS]:
                continue
            [found] = await self._with_last(partition, [record])
            if not (found.ended and found.ended.status == DUPLICATE):
                return found
            newest = newest or found
        return newest

    async def why_missing(self, event_id: str) -> str:
        """A sentence for whoever asks for an event that is not there."""
        return await why_missing(self._log, self._events, event_id)

    async def tail(self, flow_id: str) -> AsyncIterator[execution_pb2.EventSummary]:
        """Events and ends from now on, as they come."""
        topics = (self._events, self._executions)
        at = {
            (topic.name, partition): (await self._log.bounds(topic, partition)).end
            for topic in topics
            for partition in self._partitions(flow_id)
        }
        fences = {partition: Fence() for partition in self._partitions(flow_id)}
        while True:
            for topic in topics:
                for partition in self._partitions(flow_id):
                    key = topic.name, partition
                    end = (await self._log.bounds(topic, partition)).end
                    async for record in records(
                        self._log, topic, partition, at[key], end
                    ):
                        summary = (
                            summary_of(_found(record, None))
                            if topic is self._events
                            else _tailed(record, fences[partition])
                        )
                        if summary and flow_id in ("", summary.flow_id):
                            yield summary
                    at[key] = end
            await asyncio.sleep(TAIL_PAUSE_S)

    def _partitions(self, flow_id: str) -> range:
        count = self._events.partitions
        if not flow_id:
            return range(count)
        only = partition_of(flow_id.encode(), count)
        return range(only, only + 1)

    async def _newest_in(self, partition: int, flow_id: str, limit: int) -> list[Found]:
        wanted = flow_id.encode()
        found: list[Record] = []
        async for record in backwards(self._log, self._events, partition):
            if not flow_id or record.key == wanted:
                found.append(record)
            if len(found) >= limit:
                break
        return await self._with_last(partition, found)

    async def _with_last(self, partition: int, found: list[Record]) -> list[Found]:
        if not found:
            return []
        oldest_ms = min(record.appended_at_ms for record in found)
        last = LastEntries(record.offset for record in found)
        async for record in backwards(self._log, self._executions, partition):
            if record.appended_at_ms < oldest_ms - SKEW_MS:
                break
            last.take(execution_pb2.JournalEntry.FromString(record.value or b""))
        return [_found(record, last.of(record.offset)) for record in found]

    async def _find_in(
        self, partition: int, event_id: str, accepted_ms: int
    ) -> Record | None:
        start = await first_since(
            self._log, self._events, partition, accepted_ms - SKEW_MS
        )
        end = (await self._log.bounds(self._events, partition)).end
        wanted = event_id.encode()
        async for record in records(self._log, self._events, partition, start, end):
            if wanted in (record.value or b""):
                return record
            if record.appended_at_ms > accepted_ms + 60_000:
                break
        return None


def _found(record: Record, last: execution_pb2.JournalEntry | None) -> Found:
    event = event_pb2.Event.FromString(record.value or b"")
    return Found(record, event, end_of(last))


def summary_of(found: Found) -> execution_pb2.EventSummary:
    """An event in a line of a list."""
    return execution_pb2.EventSummary(
        event_id=found.event.id,
        flow_id=found.event.flow_id,
        flow_version=found.event.flow_version,
        accepted_at_us=found.event.accepted_at_us,
        status=found.ended.status if found.ended else execution_pb2.STATUS_PENDING,
        ended=found.ended,
        partition=found.record.partition,
        offset=found.record.offset,
    )


def _tailed(record: Record, fence: Fence) -> execution_pb2.EventSummary | None:
    entry = execution_pb2.JournalEntry.FromString(record.value or b"")
    ended = end_of(entry) if fence.admits(entry) else None
    if ended is None or not entry.event_id:
        return None
    return execution_pb2.EventSummary(
        event_id=entry.event_id,
        flow_id=entry.flow_id,
        status=ended.status,
        ended=ended,
        partition=record.partition,
        offset=entry.event_offset,
    )
