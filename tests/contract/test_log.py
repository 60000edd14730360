"""The log's contract, sentence by sentence; every implementation passes it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from functools import partial
from pathlib import Path

import pytest

from hookline.errors import Error, NotAppended
from hookline.log import (
    CAUGHT_UP,
    Assignment,
    Bounds,
    Commit,
    Log,
    Position,
    Record,
    Topic,
    kafka,
    partition_of,
    sqlite,
)

EVENTS = Topic("events", 4)
FLOWS = Topic("flows", compacted=True)
Opening = Callable[..., AbstractAsyncContextManager[Log]]


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
async def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """How the log under test is opened, again and again on the same data."""
    if request.param == "sqlite":
        return partial(sqlite.open_log, tmp_path / "data", (EVENTS, FLOWS))
    servers = request.getfixturevalue("kafka_servers")
    cluster = kafka.Cluster(servers, prefix=f"{uuid.uuid4().hex}.")
    one = kafka.Durability(replication=1, min_insync=1)
    await kafka.create_topics(cluster, (EVENTS, FLOWS), one, groups={"g": EVENTS})
    return partial(kafka.open_log, cluster, (EVENTS, FLOWS), durability=one)


@pytest.fixture
async def log(opening: Opening) -> AsyncIterator[Log]:
    async with opening() as log:
        yield log


async def values(log: Log, partition: int, topic: Topic = EVENTS) -> list[bytes]:
    """All values in a partition."""
    start, end = await log.bounds(topic, partition)
    return [
        record.value or b""
        async for batch in log.read(topic, partition, start, end)
        for record in batch
    ]


@asynccontextmanager
async def assigned(log: Log, partition: int) -> AsyncIterator[Assignment]:
    """The assignment of a partition to a member of the group `g`."""
    assignments = log.assignments(EVENTS, "g")
    try:
        async for assignment in assignments:
            if assignment.partition == partition:
                yield assignment
                assignment.release()
                break
            assignment.release()
    finally:
        await assignments.aclose()  # type: ignore[attr-defined] # a generator, in all


async def take(assignment: Assignment, count: int) -> list[Record]:
    """The first so many records of an assignment."""
    taken: list[Record] = []
    async for batch in assignment.records():
        taken += batch
        if len(taken) >= count:
            break
    return taken


KEY = b"flow"
HOME = partition_of(KEY, EVENTS.partitions)


async def test_appends_of_one_key_are_in_the_order_they_were_made(log: Log) -> None:
    """Also where none is awaited in between."""
    appends = [log.append(EVENTS, KEY, b"%d" % n) for n in range(2_000)]
    positions = await asyncio.gather(*appends)

    assert await values(log, HOME) == [b"%d" % n for n in range(2_000)]
    assert [position.offset for position in positions] == list(range(2_000))
    assert {position.partition for position in positions} == {HOME}


@pytest.mark.parametrize("count", [1, 3, 4, 15, 16, 63, 64, 65, 84, 200])
async def test_a_batch_of_any_size_is_whole(log: Log, count: int) -> None:
    """However many gather, each is there once."""
    await asyncio.gather(
        *(log.append(EVENTS, b"%d" % n, b"%d" % n) for n in range(count))
    )

    found = [value for p in range(EVENTS.partitions) for value in await values(log, p)]
    assert sorted(found, key=int) == [b"%d" % n for n in range(count)]


async def test_the_partition_follows_from_the_key_as_in_kafka(log: Log) -> None:
    """murmur2 of the key, positive, modulo the partitions."""
    for key, partition in (
        (b"21", 0),
        (b"foobar", 2),
        (b"a-little-bit-long-string", 0),
    ):
        assert (await log.append(EVENTS, key, b"")).partition == partition


async def test_a_record_reads_as_it_was_appended(log: Log) -> None:
    """Key, value and position; an empty value is not a missing one."""
    position = await log.append(EVENTS, KEY, b"\x00\xff")
    empty = await log.append(EVENTS, KEY, b"")
    records = [
        record
        async for batch in log.read(EVENTS, HOME, position.offset, empty.offset + 1)
        for record in batch
    ]

    assert [(r.key, r.value) for r in records] == [(KEY, b"\x00\xff"), (KEY, b"")]
    assert (records[0].partition, records[0].offset) == position


async def test_what_was_appended_outlives_the_log(opening: Opening) -> None:
    """Closed and opened again, it is there, and offsets go on."""
    async with opening() as log:
        first = await log.append(EVENTS, KEY, b"1")
    async with opening() as log:
        second = await log.append(EVENTS, KEY, b"2")

        assert await values(log, HOME) == [b"1", b"2"]
    assert second == Position(HOME, first.offset + 1)


async def test_what_is_pending_at_the_close_is_written(opening: Opening) -> None:
    """A close in good order takes along what was handed over before it."""
    async with opening() as log:
        appends = [log.append(EVENTS, KEY, b"%d" % n) for n in range(100)]

    assert all(append.done() for append in appends)
    async with opening() as log:
        assert len(await values(log, HOME)) == 100


async def test_what_is_refused_at_once_is_not_there(opening: Opening) -> None:
    """Where it is full, and where it is closed; what was taken is there."""
    async with opening(most_pending_bytes=100_000) as log:
        appends = [log.append(EVENTS, KEY, b"%05000d" % n) for n in range(100)]
        refused = [n for n, append in enumerate(appends) if append.done()]
        ends = await asyncio.gather(*appends, return_exceptions=True)
        found = await values(log, HOME)
    late = log.append(EVENTS, KEY, b"late")

    assert refused
    for end in (*(ends[n] for n in refused), late.exception()):
        assert isinstance(end, NotAppended)
    assert found == [b"%05000d" % n for n in range(100) if n not in refused]
    async with opening() as log:
        assert await values(log, HOME) == found


async def test_what_there_is_room_for_is_taken(opening: Opening) -> None:
    """All of it, if it is appended at once; and there is none for the next one then."""
    async with opening(most_pending_bytes=100_000) as log:
        most = max(n for n in range(1000) if log.has_room(n, n * 1000))
        appends = [log.append(EVENTS, KEY, b"%01000d" % n) for n in range(most)]
        there_is_more = log.has_room(1, 1000)
        await asyncio.gather(*appends)
        assert log.has_room(most, most * 1000)
    closed = log.has_room(0, 0)

    assert most > 10
    assert not there_is_more
    assert not closed


async def test_reading_keeps_to_its_offsets(log: Log) -> None:
    """Start <= offset < end."""
    for n in range(10):
        await log.append(EVENTS, KEY, b"%d" % n)

    found = [r.offset async for batch in log.read(EVENTS, HOME, 3, 7) for r in batch]

    assert found == [3, 4, 5, 6]


async def test_bounds_tell_the_first_and_the_next(log: Log) -> None:
    """Of an empty partition both are the same."""
    before = await log.bounds(EVENTS, HOME)
    await log.append(EVENTS, KEY, b"")

    assert before == Bounds(0, 0)
    assert await log.bounds(EVENTS, HOME) == Bounds(0, 1)


async def test_trimmed_records_are_gone_and_their_offsets_not_given_again(
    opening: Opening,
) -> None:
    """Also where all were trimmed, and the log was opened anew since."""
    async with opening() as log:
        await asyncio.gather(*(log.append(EVENTS, KEY, b"") for _ in range(2_500)))
        await log.trim(EVENTS, Position(HOME, 2_500))

        assert await values(log, HOME) == []
        assert await log.bounds(EVENTS, HOME) == Bounds(2_500, 2_500)
    async with opening() as log:
        assert (await log.append(EVENTS, KEY, b"")).offset == 2_500


async def test_trim_leaves_what_is_after_its_offset(log: Log) -> None:
    """And other partitions alone."""
    for n in range(10):
        await log.append(EVENTS, KEY, b"%d" % n)
    await log.append(EVENTS, b"21", b"other")

    await log.trim(EVENTS, Position(HOME, 7))

    assert await values(log, HOME) == [b"7", b"8", b"9"]
    assert await values(log, partition_of(b"21", 4)) == [b"other"]


async def test_what_is_trimmed_gives_nothing_to_who_has_read_before(log: Log) -> None:
    """What is left is read; nothing fails for what was known of the log before."""
    for n in range(10):
        await log.append(EVENTS, KEY, b"%d" % n)

    async def read(start: int, end: int) -> list[bytes | None]:
        batches = [one async for one in log.read(EVENTS, HOME, start, end)]
        return [record.value for batch in batches for record in batch]

    before = await read(0, 2)
    await log.trim(EVENTS, Position(HOME, 7))

    assert before == [b"0", b"1"]
    assert await read(1, 2) == []
    assert await read(5, 10) == [b"7", b"8", b"9"]


async def test_large_records_are_trimmed_and_trimming_again_changes_nothing(
    log: Log,
) -> None:
    """Neither the same again, nor what is long gone."""
    for n in range(60):
        await log.append(EVENTS, KEY, b"%0100000d" % n)

    for before in (55, 55, 3):
        await log.trim(EVENTS, Position(HOME, before))

    assert [int(value[-2:]) for value in await values(log, HOME)] == [*range(55, 60)]
    assert await log.bounds(EVENTS, HOME) == Bounds(55, 60)


async def test_appends_go_on_while_much_is_trimmed(log: Log) -> None:
    """What comes meanwhile is kept, what was there before is gone."""
    await asyncio.gather(*(log.append(EVENTS, KEY, b"old") for _ in range(5_000)))
    trimming = asyncio.ensure_future(log.trim(EVENTS, Position(HOME, 5_000)))
    added = 0
    while not trimming.done():
        await log.append(EVENTS, KEY, b"new")
        added += 1
    await trimming

    assert await values(log, HOME) == [b"new"] * added
    assert added


async def test_an_assignment_begins_at_the_start_without_a_commit(log: Log) -> None:
    """A new group reads everything."""
    await log.append(EVENTS, KEY, b"1")
    async with assigned(log, HOME) as assignment:
        assert assignment.committed in (None, Commit(0))
        assert [r.value for r in await take(assignment, 1)] == [b"1"]


async def test_records_behind_the_last_commit_come_again(opening: Opening) -> None:
    """The commit is the next offset, its metadata the group's own."""
    async with opening() as log:
        for n in range(5):
            await log.append(EVENTS, KEY, b"%d" % n)
        async with assigned(log, HOME) as assignment:
            await take(assignment, 5)
            await assignment.commit(Commit(3, "x" * 4_096))
            assignment.release()
    async with opening() as log, assigned(log, HOME) as assignment:
        assert assignment.committed == Commit(3, "x" * 4_096)
        assert [r.value for r in await take(assignment, 2)] == [b"3", b"4"]


async def test_every_partition_is_assigned_once(log: Log) -> None:
    """One member has them all."""
    found: list[int] = []
    assignments = log.assignments(EVENTS, "g")
    async for assignment in assignments:
        found.append(assignment.partition)
        assignment.release()
        if len(found) == EVENTS.partitions:
            break
    await assignments.aclose()  # type: ignore[attr-defined] # a generator, in all

    assert sorted(found) == list(range(EVENTS.partitions))


async def test_a_group_has_one_reader_in_a_process(log: Log) -> None:
    """A second one would do everything twice."""
    async with assigned(log, HOME):
        second = log.assignments(EVENTS, "g")
        with pytest.raises(Error):
            await anext(second)


async def test_records_come_as_they_are_appended_in_order(log: Log) -> None:
    """A reader at the end misses nothing, and sees nothing twice."""
    async with assigned(log, HOME) as assignment:
        reading = asyncio.ensure_future(take(assignment, 3_000))
        for n in range(0, 3_000, 10):
            await asyncio.gather(
                *(log.append(EVENTS, KEY, b"%d" % (n + i)) for i in range(10))
            )
        taken = await reading

    assert [r.value for r in taken] == [b"%d" % n for n in range(3_000)]


async def test_batches_of_large_records_are_small(log: Log) -> None:
    """What is read ahead is bounded in bytes, whatever a record has."""
    large = b"x" * 300_000
    await asyncio.gather(*(log.append(EVENTS, KEY, large) for _ in range(40)))
    async with assigned(log, HOME) as assignment:
        taken: list[Record] = []
        async for batch in assignment.records():
            assert sum(len(one.value or b"") for one in batch) <= 1_500_000
            taken += batch
            if len(taken) == 40:
                break

    assert [record.offset for record in taken] == list(range(40))


async def test_a_slow_reader_gets_everything_in_order(log: Log) -> None:
    """More comes than is kept for it: it falls behind, and catches up."""
    async with assigned(log, HOME) as assignment:
        await log.append(EVENTS, KEY, b"0")
        records = assignment.records()
        taken = list(await anext(records))
        total = 20_000
        await asyncio.gather(
            *(log.append(EVENTS, KEY, b"%d" % n) for n in range(1, total))
        )
        while len(taken) < total:
            batch = await anext(records)
            assert len(batch) <= 4_096 + 512  # it is not handed the whole backlog
            taken += batch
            if len(taken) % 3 == 0:
                await log.append(EVENTS, KEY, b"%d" % total)
                total += 1

    assert [r.value for r in taken] == [b"%d" % n for n in range(total)]
    assert [r.offset for r in taken] == list(range(total))


async def test_records_end_when_the_log_closes(opening: Opening) -> None:
    """Ends, and does not raise; nothing is owned any more."""
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(opening())
        assignment = await stack.enter_async_context(assigned(log, HOME))
        owned_before = assignment.owned()
        reading = asyncio.ensure_future(take(assignment, 1))

    assert await reading == []
    assert (owned_before, assignment.owned()) == (True, False)


async def test_follow_reads_the_newest_of_each_key_then_what_comes(
    opening: Opening,
) -> None:
    """Everything that stands, the mark once, and then everything new."""
    async with opening() as log:
        for value in (b"1", b"2", b"3"):
            await log.append(FLOWS, b"a", value)
            await log.append(FLOWS, b"b", value)
    async with opening() as log:
        following = log.follow(FLOWS)
        standing: list[tuple[bytes, bytes | None]] = []
        async for batch in following:
            if batch == CAUGHT_UP:
                break
            standing += [(r.key, r.value) for r in batch]
        await log.append(FLOWS, b"a", b"4")
        await log.append(FLOWS, b"c", None)
        news: list[tuple[bytes, bytes | None]] = []
        async for batch in following:
            assert batch != CAUGHT_UP
            news += [(r.key, r.value) for r in batch]
            if len(news) == 2:
                break

    # What is older of a key may still be there, before what is newer.
    assert dict(standing) == {b"a": b"3", b"b": b"3"}
    assert news == [(b"a", b"4"), (b"c", None)]
