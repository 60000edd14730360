"""Finds records in a partition without an index: from the newest on, and by their time."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from hookline.log import Log, Record, Topic

WINDOW: Final = 1024
MOST_SCANNED: Final = 200_000
UUID7: Final = 7


def id_time_ms(text: str) -> int | None:
    """The time that a UUID of version 7 holds, from 1970; None where it is none."""
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid.int >> 80 if uuid.version == UUID7 else None


async def records(
    log: Log, topic: Topic, partition: int, start: int, end: int
) -> AsyncIterator[Record]:
    """Records with start <= offset < end, one by one."""
    async for batch in log.read(topic, partition, start, end):
        for record in batch:
            yield record


async def backwards(
    log: Log, topic: Topic, partition: int, window: int = WINDOW
) -> AsyncIterator[Record]:
    """Records from the newest on, at most so many that an answer comes in time.

    `window` is how many are held at once.
    """
    start, end = await log.bounds(topic, partition)
    lowest = max(start, end - MOST_SCANNED)
    while end > lowest:
        since = max(lowest, end - window)
        found = [one async for one in records(log, topic, partition, since, end)]
        for record in reversed(found):
            yield record
        end = since


async def first_since(log: Log, topic: Topic, partition: int, since_ms: int) -> int:
    """The first offset whose record was appended at or after a time, by bisection."""
    low, high = await log.bounds(topic, partition)
    while low < high:
        middle = (low + high) // 2
        record = await _first(log, topic, partition, middle, high)
        if record is None or record.appended_at_ms >= since_ms:
            high = middle
        else:
            low = record.offset + 1
    return low


async def _first(
    log: Log, topic: Topic, partition: int, start: int, end: int
) -> Record | None:
    # As a rule the offset asked for is there, and nothing else needs to be read.
    for until in (start + 1, start + WINDOW):
        async for record in records(log, topic, partition, start, min(end, until)):
            return record
    return None
