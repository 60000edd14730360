"""What a commit says of events that it has passed, and when that counts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hookline.errors import Unavailable
from hookline.log import Commit, Record
from hookline.log.sqlite import open_log
from hookline.metrics import Metrics
from services.executor.commits import Commits, Pace
from services.executor.held import MOST_HELD_S, Held
from services.executor.journal import Journal, Journals
from services.executor.lane import Lane
from services.executor.passing import Passed
from services.executor.restore import Restorer, bookmark_of
from services.executor.retention import needs_of
from tests.test_restore import TOPICS, Assigned
from tests.waiting import until


@dataclass(slots=True)
class Reached:
    """Lanes, as their commits see them."""

    commit_offset: int
    passing: Passed = field(default_factory=lambda: Passed({}, 1000))
    on_progress: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Refusing(Assigned):
    """A partition whose commits are not kept for certain."""

    refuses: bool = True
    asked: int = 0

    async def commit(self, commit: Commit) -> None:
        self.asked += 1
        if self.refuses:
            raise Unavailable("perhaps it is kept")
        self.committed = commit


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with open_log(tmp_path, TOPICS.all) as log:
        restored = await Restorer(log, TOPICS.executions, TOPICS.events).restore(
            Assigned()
        )
        yield Journals(log, TOPICS, Metrics()).under(restored)


def commits_of(assigned: Assigned, lanes: Reached, journal: Journal) -> Commits:
    journal.keys.covers = 100  # the keys of all these events are known
    pace = Pace(0.001, 1000, 60.0)
    bookmark = bookmark_of(assigned.committed)
    return Commits(assigned, lanes, journal, bookmark, pace)  # type: ignore[arg-type] # all that it is asked for


async def test_a_commit_names_the_oldest_event_that_it_has_passed(
    journal: Journal,
) -> None:
    """Nothing from there on may be trimmed; when it is over, the commit itself counts."""
    lanes, assigned = Reached(7), Assigned()
    commits = commits_of(assigned, lanes, journal)
    lowest: list[int | None] = [3]
    commits.lowest_needed = lambda: lowest[-1]
    needed = []
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(commits.run())
        await asyncio.sleep(0)
        for now in (3, 9, None):
            lowest.append(now)
            before = commits.kept
            lanes.commit_offset += 1
            lanes.on_progress()
            await until(lambda kept=before: commits.kept != kept)  # type: ignore[misc] # bound to this turn
            needed.append(needs_of(commits.kept).event)
        running.cancel()

    assert needed == [3, 9, 10]
    assert assigned.committed == commits.kept


async def test_what_has_not_ended_for_long_is_passed_though_nothing_moves(
    journal: Journal,
) -> None:
    """No event is read and none ends: it is the clock alone that goes on."""
    slow, clock = Lane(b"slow"), [0.0]
    passing = Passed({slow.key: slow}, 1000)
    passing.held = Held(passing.watermark, lambda: clock[0])
    lanes = Reached(7, passing)
    passing.held.read(Record(0, 7, 0, slow.key, b""))
    passing.watermark.open(7)
    slow.append(7)
    commits = commits_of(Assigned(), lanes, journal)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(commits.run())
        await asyncio.sleep(0)
        before = slow.passed
        clock[0] = MOST_HELD_S
        await until(lambda: slow.passed == 7)
        running.cancel()

    assert before == -1
    assert passing.watermark.commit_offset == 8


async def test_what_is_not_kept_for_certain_is_not_gone_by(journal: Journal) -> None:
    """The next owner may begin at the commit before it."""
    lanes, assigned = Reached(7), Refusing(Commit(4, ""))
    commits = commits_of(assigned, lanes, journal)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(commits.run())
        await asyncio.sleep(0)
        lanes.on_progress()
        await until(lambda: assigned.asked > 2)
        before = commits.kept
        assigned.refuses = False
        await until(lambda: commits.kept != before)
        running.cancel()

    assert before == Commit(4, "")
    assert needs_of(commits.kept).event == 7
