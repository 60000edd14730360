"""Events and their ends as they come, read from the log's end on."""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from hookline.claims import Fence
from hookline.log import Log, Record, partition_of
from hookline.log.search import records
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2

TAIL_PAUSE_S = 0.2


async def tail(
    log: Log, topics: Topics, flow_id: str
) -> AsyncIterator[execution_pb2.EventSummary]:
    """Events and ends from now on, of one flow where an id is given."""
    partitions = _partitions(topics, flow_id)
    at = {
        (topic.name, partition): (await log.bounds(topic, partition)).end
        for topic in (topics.events, topics.executions)
        for partition in partitions
    }
    fences = {partition: Fence() for partition in partitions}
    while True:
        for topic in (topics.events, topics.executions):
            for partition in partitions:
                key = topic.name, partition
                end = (await log.bounds(topic, partition)).end
                async for record in records(log, topic, partition, at[key], end):
                    summary = (
                        _accepted(record)
                        if topic is topics.events
                        else _ended(record, fences[partition])
                    )
                    if summary and flow_id in ("", summary.flow_id):
                        yield summary
                at[key] = end
        await asyncio.sleep(TAIL_PAUSE_S)


def _partitions(topics: Topics, flow_id: str) -> range:
    count = topics.events.partitions
    if not flow_id:
        return range(count)
    only = partition_of(flow_id.encode(), count)
    return range(only, only + 1)


def _accepted(record: Record) -> execution_pb2.EventSummary | None:
    try:
        event = event_pb2.Event.FromString(record.value or b"")
    except DecodeError:
        return None
    return execution_pb2.EventSummary(
        event_id=event.id,
        flow_id=event.flow_id,
        flow_version=event.flow_version,
        accepted_at_us=event.accepted_at_us,
        status=execution_pb2.STATUS_PENDING,
        partition=record.partition,
        offset=record.offset,
        replayed=event.replayed,
    )


def _ended(record: Record, fence: Fence) -> execution_pb2.EventSummary | None:
    """An end, or that it is held."""
    try:
        entry = execution_pb2.JournalEntry.FromString(record.value or b"")
    except DecodeError:
        return None
    if not fence.admits(entry) or not entry.event_id:
        return None
    summary = execution_pb2.EventSummary(
        event_id=entry.event_id,
        flow_id=entry.flow_id,
        partition=record.partition,
        offset=entry.event_offset,
    )
    if entry.HasField("ended"):
        summary.status = entry.ended.status
        summary.ended.CopyFrom(entry.ended)
    elif entry.progress.HasField("held"):
        summary.status = execution_pb2.STATUS_HELD
        summary.ended.CopyFrom(held_end(entry.progress))
    else:
        return None
    return summary


def held_end(
    progress: execution_pb2.ExecutionProgress,
) -> execution_pb2.ExecutionEnded:
    """Why and since when an execution is held, in the form of an end."""
    held = progress.held
    return execution_pb2.ExecutionEnded(
        status=execution_pb2.STATUS_HELD,
        started_at_us=progress.started_at_us,
        ended_at_us=held.held_at_us,
        attempts=held.attempts,
        step=held.step,
        reason=held.reason,
    )
