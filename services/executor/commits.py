"""How far a partition is done, kept for its group; now and then with a checkpoint.

A commit names in its metadata where the newest checkpoint begins. It is kept only when
all parts of that checkpoint are durable, so a restore from it misses nothing. What the
commit is to pass though it has not ended is durable in the journal before.
"""

import asyncio
import time
from dataclasses import dataclass

from hookline.errors import Unavailable
from hookline.failpoints import failpoint
from hookline.log import Assignment, Commit
from hookline.telemetry import get_logger
from hookline.v1 import execution_pb2
from services.executor.journal import Journal
from services.executor.lanes import Lanes
from services.executor.passing import in_parts
from services.executor.restore import Bookmark

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to commit; after how many records and seconds to write a checkpoint."""

    commit_interval_s: float
    checkpoint_records: int
    checkpoint_interval_s: float


class Commits:
    """Commits one partition as its lanes go on."""

    def __init__(
        self,
        assignment: Assignment,
        lanes: Lanes,
        journal: Journal,
        bookmark: Bookmark,
        pace: Pace,
    ) -> None:
        self._assignment = assignment
        self._lanes = lanes
        self._journal = journal
        self._bookmark = bookmark
        self._pace = pace
        self._kept: Commit | None = assignment.committed
        self._records = 0
        journal.records_due = pace.checkpoint_records
        self._checkpointed_at = time.monotonic()

    @property
    def lowest_needed(self) -> int:
        """The lowest offset of `events` that this owner, or one after it, may still read.

        That is where the commit is kept, or before it the lowest event that it has passed.
        """
        committed = self._kept.offset if self._kept else 0
        lowest = self._lanes.lowest_unfinished
        return committed if lowest is None else min(lowest, committed)

    async def run(self) -> None:
        """Commit whenever the lanes have gone on; once more when it is over."""
        moved = asyncio.Event()
        self._lanes.on_progress = self._journal.on_due = moved.set
        try:
            while True:
                await self._wait(moved)
                moved.clear()
                await self._write_passed()
                if self._is_checkpoint_due():
                    await self._write_checkpoint()
                if not await self._commit():
                    moved.set()  # it was not kept: once more, also where nothing moves
                await asyncio.sleep(self._pace.commit_interval_s)
        finally:
            await asyncio.shield(self._commit())

    async def _wait(self, moved: asyncio.Event) -> None:
        """Return when there is something to commit, or time for a checkpoint."""
        try:
            async with asyncio.timeout(self._pace.checkpoint_interval_s):
                await moved.wait()
        except TimeoutError:
            return

    async def _write_passed(self) -> None:
        """Have the journal know what rests, or is far behind; then it holds no commit.

        No bookmark is set while this is on its way: nothing of it stands before one
        unless it was said again behind it.
        """
        passing = self._lanes.passing.due()
        if passing:
            named = ((one.lane.key, one.offsets) for one in passing)
            for part in in_parts(named):
                await self._journal.write_passed(part)
            self._lanes.passing.take(passing)
            failpoint("executor.after_passed_before_commit")

    def _is_checkpoint_due(self) -> bool:
        written = self._journal.records - self._records
        since_s = time.monotonic() - self._checkpointed_at
        late = since_s >= self._pace.checkpoint_interval_s
        return written >= self._pace.checkpoint_records or (late and written > 0)

    async def _write_checkpoint(self) -> None:
        """Say again what is known; the next commit says where that begins."""
        bookmark = self._bookmark_here()
        journal = self._journal
        passing = self._lanes.passing
        for part in journal.state.checkpoint(passing.watermark.finished):
            await journal.write_checkpoint(part)
        for passed in in_parts(passing.all()):
            await journal.write_checkpoint(execution_pb2.Checkpoint(passed=passed))
        self._set_bookmark(bookmark)

    def _move_bookmark_if_settled(self) -> None:
        """Where the commit says all there is to say, a checkpoint would be empty."""
        passing = self._lanes.passing
        told = passing.count or passing.watermark.finished
        if self._journal.state.is_settled() and not told:
            self._set_bookmark(self._bookmark_here())

    def _bookmark_here(self) -> Bookmark:
        """Behind all that is durable.

        What is on its way to the journal now, and what comes while parts of a checkpoint
        are written, stands behind it, and is read after a crash.
        """
        journal = self._journal
        return Bookmark(journal.reached + 1, *journal.claim, journal.passed)

    def _set_bookmark(self, bookmark: Bookmark) -> None:
        self._bookmark = bookmark
        self._records = self._journal.records
        self._journal.records_due = self._records + self._pace.checkpoint_records
        self._checkpointed_at = time.monotonic()

    async def _commit(self) -> bool:
        """Tells whether nothing is left to be kept."""
        offset = self._lanes.commit_offset
        if offset is None and self._kept is not None:
            offset = self._kept.offset
        if offset is None:
            return True
        self._move_bookmark_if_settled()
        commit = Commit(offset, self._bookmark.text)
        if commit == self._kept or not self._assignment.owned():
            return True
        try:
            failpoint("executor.after_journal_before_commit")
            await self._assignment.commit(commit)
        except Unavailable as error:
            logger.warning("commit.delayed", error=str(error))
            return False
        self._kept = commit
        return offset == self._lanes.commit_offset
