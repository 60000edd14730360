"""Why an event is not there: it was trimmed, or there never was one."""

from hookline.log import Log, Topic
from hookline.log.search import id_time_ms, records


async def why_missing(log: Log, events: Topic, event_id: str) -> str:
    """A sentence for whoever asks for an event that is not there. Raises Unavailable.

    An id tells when its event was accepted, not in which partition it was: it may have
    been in any from which so much has been trimmed.
    """
    at_ms = id_time_ms(event_id)
    if at_ms is not None:
        for partition in range(events.partitions):
            if await _is_trimmed_past(log, events, partition, at_ms):
                return (
                    f"The event {event_id!r} is not kept any more, if there was one: what "
                    "is as old has been deleted (HOOKLINE_RETENTION__EVENTS_S)."
                )
    return f"There is no event {event_id!r}; `hookline events list` has the newest."


async def _is_trimmed_past(log: Log, events: Topic, partition: int, at_ms: int) -> bool:
    start, end = await log.bounds(events, partition)
    if start == 0:
        return False
    async for record in records(log, events, partition, start, min(start + 1, end)):
        return at_ms < record.appended_at_ms
    return True
