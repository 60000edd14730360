"""A bounded topic of the embedded log forgets its oldest records by itself."""

import asyncio
from pathlib import Path

from hookline.log import Bound, Bounds, Log, Position, Topic
from hookline.log.sqlite import open_log
from hookline.log.sqlite_bound import ROW_BYTES

KEY = b"flow"
VALUE = b"x" * 1000
ROW = len(KEY) + len(VALUE) + ROW_BYTES
HELD = 10
SMALL = Topic("small", bound=Bound(HELD * ROW, 86_400))
AGED = Topic("aged", bound=Bound(10**9, -1))
WHOLE = Topic("whole")
TOPICS = (SMALL, AGED, WHOLE)


async def append(log: Log, topic: Topic, count: int) -> list[Position]:
    """Append so many, each in a transaction of its own."""
    return [await log.append(topic, KEY, VALUE) for _ in range(count)]


async def test_the_oldest_beyond_so_many_bytes_are_forgotten(tmp_path: Path) -> None:
    """Those of one transaction as those of many, and again after a start."""
    async with open_log(tmp_path, TOPICS) as log:
        await append(log, SMALL, HELD)
        assert await log.bounds(SMALL, 0) == Bounds(0, HELD)
        await append(log, SMALL, 5)
        assert await log.bounds(SMALL, 0) == Bounds(5, HELD + 5)
        await asyncio.gather(*(log.append(SMALL, KEY, VALUE) for _ in range(100)))
        assert await log.bounds(SMALL, 0) == Bounds(105, HELD + 105)
    async with open_log(tmp_path, TOPICS) as log:
        [position] = await append(log, SMALL, 1)
        assert position.offset == HELD + 105
        assert await log.bounds(SMALL, 0) == Bounds(106, HELD + 106)


async def test_one_record_over_the_bound_is_kept_until_the_next_one(
    tmp_path: Path,
) -> None:
    """The newest is never forgotten, so no offset is given twice."""
    async with open_log(tmp_path, TOPICS) as log:
        await append(log, SMALL, 3)
        await log.append(SMALL, KEY, VALUE * HELD * 2)
        assert await log.bounds(SMALL, 0) == Bounds(3, 4)
        await append(log, SMALL, 1)
        assert await log.bounds(SMALL, 0) == Bounds(4, 5)


async def test_what_is_too_old_is_forgotten(tmp_path: Path) -> None:
    """Also at a start, where nothing new comes."""
    unbounded = Topic("aged")
    async with open_log(tmp_path, [unbounded]) as log:
        await append(log, unbounded, 3)
    async with open_log(tmp_path, TOPICS) as log:
        assert await log.bounds(AGED, 0) == Bounds(2, 3)
        await append(log, AGED, 1)
        assert await log.bounds(AGED, 0) == Bounds(3, 4)


async def test_other_topics_keep_all(tmp_path: Path) -> None:
    """Whatever is forgotten beside them in the same transactions."""
    async with open_log(tmp_path, TOPICS) as log:
        for _ in range(2 * HELD):
            await asyncio.gather(
                log.append(WHOLE, KEY, VALUE), log.append(SMALL, KEY, VALUE)
            )
        assert await log.bounds(WHOLE, 0) == Bounds(0, 2 * HELD)
