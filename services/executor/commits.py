"""How far a partition is done, kept for its group; now and then with a checkpoint.

A commit names in its metadata where the newest checkpoint begins. It is kept only when
all parts of that checkpoint are durable, so a restore from it misses nothing. What the
commit is to pass though it has not ended is durable in the journal before.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from hookline.errors import Unavailable
from hookline.failpoints import failpoint
from hookline.log import Assignment, Commit
from hookline.telemetry import get_logger
from hookline.v1 import execution_pb2
from services.executor.journal import Journal
from services.executor.keys_restore import KeysMark, KeysWriting
from services.executor.lanes import Lanes
from services.executor.passing import in_parts
from services.executor.restore import Bookmark

# What holds a commit becomes too old by itself, also where nothing is read or ends.
LOOK_S: Final = 2.0
LowestNeeded = Callable[[], int | None]
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
        mark = bookmark.keys or KeysMark(since=journal.keys.covers)
        self._keys = KeysWriting(journal.keys, mark, pace.checkpoint_interval_s)
        self._bookmark = replace(bookmark, keys=mark)
        self._pace = pace
        self._kept: Commit | None = assignment.committed
        self._records = 0
        # The lowest event that is not over, where the commit may pass some that are not.
        self.lowest_needed: LowestNeeded = lambda: None
        journal.records_due = pace.checkpoint_records
        self._checkpointed_at = time.monotonic()

    @property
    def kept(self) -> Commit | None:
        """The last commit that is kept for certain: a restore begins there or later."""
        return self._kept

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
                if self._keys.is_due():
                    await self._write_keys()
                if not await self._commit():
                    moved.set()  # it was not kept: once more, also where nothing moves
                await asyncio.sleep(self._pace.commit_interval_s)
        finally:
            await asyncio.shield(self._commit())

    async def _wait(self, moved: asyncio.Event) -> None:
        """Return when there is something to commit, or time to look at the clock."""
        try:
            async with asyncio.timeout(min(self._pace.checkpoint_interval_s, LOOK_S)):
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
        for part in journal.keys.checkpoint():
            await journal.write_checkpoint(part)
        for passed in in_parts(passing.all()):
            await journal.write_checkpoint(execution_pb2.Checkpoint(passed=passed))
        self._set_bookmark(bookmark)

    async def _write_keys(self) -> None:
        """Write all keys down, and the repeats that are decided about by then.

        Those stand behind the bookmark, and are read with what it names.
        """
        journal = self._journal
        begins = journal.reached + 1
        snapshot = journal.keys.snapshot()
        for part in snapshot.parts():
            await journal.write_checkpoint(part)
        ends = journal.reached + 1
        for part in journal.keys.checkpoint():
            await journal.write_checkpoint(part)
        mark = self._keys.written(snapshot, begins, ends)
        keys = self._bookmark.keys or mark
        self._bookmark = replace(self._bookmark, keys=replace(mark, covers=keys.covers))

    def _move_bookmark_if_settled(self) -> None:
        """Where the commit says all there is to say, a checkpoint would be empty."""
        passing = self._lanes.passing
        told = passing.count or passing.watermark.finished
        state, repeats = self._journal.state, self._journal.keys.repeats
        if state.is_settled() and not told and not repeats:
            self._set_bookmark(self._bookmark_here())

    def _bookmark_here(self) -> Bookmark:
        """Behind all that is durable.

        What is on its way to the journal now, and what comes while parts of a checkpoint
        are written, stands behind it, and is read after a crash.
        """
        journal = self._journal
        return Bookmark(
            journal.reached + 1,
            *journal.claim,
            passed=journal.passed,
            controls=journal.state.controls.next_offset,
            keys=self._keys.here(),
        )

    def _set_bookmark(self, bookmark: Bookmark) -> None:
        self._bookmark = bookmark
        self._records = self._journal.records
        self._journal.records_due = self._records + self._pace.checkpoint_records
        self._checkpointed_at = time.monotonic()

    def _bookmark_with_oldest(self, offset: int) -> Bookmark:
        lowest = self.lowest_needed()
        passed = lowest is not None and lowest < offset
        return replace(self._bookmark, oldest=lowest if passed else None)

    async def _commit(self) -> bool:
        """Tells whether nothing is left to be kept."""
        offset = self._lanes.commit_offset
        if offset is None and self._kept is not None:
            offset = self._kept.offset
        if offset is None:
            return True
        self._move_bookmark_if_settled()
        commit = Commit(offset, self._bookmark_with_oldest(offset).text)
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
