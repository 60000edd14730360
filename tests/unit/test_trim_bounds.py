"""What is trimmed, for any history of records and commits."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from hookline.log import Bounds, Commit, Log, Position, Record, Topic
from hookline.metrics import Metrics
from hookline.topics import Topics
from services.executor.keys_restore import KeysMark
from services.executor.restore import Bookmark, bookmark_of
from services.executor.retention import SLACK, Needs, Retention, needs_of
from services.executor.trimming import Trim, Trims
from tests.clocks import Clock

TOPICS = Topics.with_partitions(1)
RETENTION = Retention(events_s=1000.0, history_s=500.0, dead_letters_s=3000.0)
KINDS = (TOPICS.events, TOPICS.executions, TOPICS.dead_letters)


@dataclass(slots=True)
class Kept:
    """A log in memory, whose records have the times that a test gives them."""

    times_ms: dict[str, list[int]]
    starts: dict[str, int] = field(default_factory=dict)

    async def bounds(self, topic: Topic, _partition: int) -> Bounds:
        return Bounds(self.start(topic), len(self.times_ms[topic.name]))

    async def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        times_ms = self.times_ms[topic.name]
        for offset in range(max(start, self.start(topic)), min(end, len(times_ms))):
            yield [Record(partition, offset, times_ms[offset], b"flow", b"")]

    async def trim(self, topic: Topic, before: Position) -> None:
        assert self.start(topic) <= before.offset <= len(self.times_ms[topic.name])
        self.starts[topic.name] = before.offset

    def start(self, topic: Topic) -> int:
        return self.starts.get(topic.name, 0)


def trim_of(log: Kept, kept: Commit | None, clock: Clock) -> Trim:
    trims = Trims(cast("Log", log), TOPICS, RETENTION, Metrics(), clock=clock)
    return Trim(trims, 0, lambda: kept, lambda: True)


times = st.lists(st.integers(0, 5_000_000), max_size=40).map(sorted)
offsets = st.integers(0, 45)
commits = st.none() | st.builds(
    lambda offset, journal, oldest: Commit(
        offset, Bookmark(journal, 1, 1, oldest).text
    ),
    offsets,
    offsets,
    st.none() | offsets,
)


@given(st.tuples(times, times, times), commits, st.integers(0, 6000))
def test_what_goes_is_past_its_time_and_needed_by_nobody(
    times_ms: tuple[list[int], list[int], list[int]], kept: Commit | None, now_s: int
) -> None:
    """And all of that does go, but for what has only just come to it."""
    log = Kept({topic.name: row for topic, row in zip(KINDS, times_ms, strict=True)})
    asyncio.run(trim_of(log, kept, Clock(float(now_s))).step())

    needs = needs_of(kept)
    events, journal, letters = (
        (log.times_ms[topic.name], log.start(topic)) for topic in KINDS
    )
    oldest_ms = min(events[0][events[1] :], default=now_s * 1000)
    cutoff_ms = min(oldest_ms, (now_s - 500) * 1000)
    assert_trimmed(*events, needs.event, (now_s - 1000) * 1000, 1000_000)
    assert_trimmed(*journal, needs.journal, cutoff_ms, 500_000)
    assert_trimmed(*letters, len(letters[0]), (now_s - 3000) * 1000, 3000_000)


def assert_trimmed(
    times_ms: list[int], start: int, needed: int, cutoff_ms: int, retention_ms: int
) -> None:
    """What is gone may go; what may go and is still there is hardly past its time."""
    assert start <= needed
    assert all(at_ms < cutoff_ms for at_ms in times_ms[:start])
    due_ms = cutoff_ms - retention_ms * SLACK
    if times_ms[start:needed]:
        assert times_ms[start] >= due_ms


@given(
    st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(0, 40)), min_size=1)
)
def test_what_a_commit_needs_is_there_whenever_one_of_before_is_trimmed_by(
    moves: list[tuple[int, int | None]],
) -> None:
    """A commit only ever goes on: who trims by an older one trims less."""
    log = Kept({topic.name: [0] * 50 for topic in KINDS})
    lowest = offset = 0
    for ahead, behind in moves:
        offset = max(offset, ahead)
        lowest = max(lowest, min(offset, offset if behind is None else behind))
        kept = Commit(offset, Bookmark(1, 1, 1, oldest=lowest).text)
        asyncio.run(trim_of(log, kept, Clock(5000.0)).step())

        assert log.start(TOPICS.events) == lowest


def test_without_a_commit_everything_is_needed() -> None:
    """As is all of the journal where a person has set the group's offset."""
    assert needs_of(None) == Needs(0, 0)
    assert needs_of(Commit(7)) == Needs(0, 0)
    assert needs_of(Commit(7, "not JSON")) == Needs(0, 0)
    assert needs_of(Commit(7, Bookmark(3, 1, 1).text)) == Needs(7, 3)
    assert needs_of(Commit(7, Bookmark(3, 1, 1, oldest=2).text)) == Needs(2, 3)
    assert needs_of(Commit(7, Bookmark(oldest=2).text)) == Needs(2, 0)


def test_what_keys_are_restored_from_is_needed() -> None:
    """Their snapshot in the journal, and the events since."""
    none_yet, one = KeysMark(since=5), KeysMark(2, 3, 1, since=6)

    assert needs_of(Commit(7, Bookmark(4, 1, 1, keys=none_yet).text)) == Needs(5, 4)
    assert needs_of(Commit(7, Bookmark(4, 1, 1, keys=one).text)) == Needs(6, 2)


@given(offsets, offsets, offsets, st.none() | offsets)
def test_a_bookmark_reads_as_it_was_written(
    journal: int, epoch: int, owner: int, oldest: int | None
) -> None:
    """Also by one that knows nothing of the oldest event, or writes nothing of it."""
    bookmark = Bookmark(journal, epoch, owner, oldest=oldest)

    assert bookmark_of(Commit(50, bookmark.text)) == bookmark


async def test_nothing_goes_where_everything_is_to_be_kept() -> None:
    """Zero means for good."""
    log = Kept({topic.name: [0] * 9 for topic in KINDS})
    trims = Trims(
        cast("Log", log), TOPICS, Retention(0, 0, 0), Metrics(), clock=Clock(1e9)
    )

    await Trim(trims, 0, lambda: Commit(9), lambda: True).step()

    assert log.starts == {}


async def test_nothing_goes_of_a_partition_that_is_somebody_elses() -> None:
    """Whoever has it now looks after it."""
    log = Kept({topic.name: [0] * 9 for topic in KINDS})
    trims = Trims(cast("Log", log), TOPICS, RETENTION, Metrics(), clock=Clock(1e9))

    await Trim(trims, 0, lambda: Commit(9), lambda: False).step()

    assert log.starts == {}
