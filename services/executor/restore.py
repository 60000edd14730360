"""Before the first step in a partition: claim it, and learn what its journal says.

What has to be read is bounded: the commit names where in the journal the newest
checkpoint begins, and the claim that held there. Nothing starts before the journal has
been read up to the new claim, so nothing that counts is missed: what owners of before
write later stands behind the claim, and is ignored.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from time import time_ns
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from hookline.claims import Claim, new_owner
from hookline.errors import Unavailable
from hookline.log import Assignment, Commit, Log, Record, Topic, partition_of
from hookline.telemetry import get_logger
from hookline.v1 import execution_pb2
from services.executor.partition_state import PartitionState

PAUSE_S: Final = 0.5
LOOK_S: Final = 0.05
logger = get_logger(__name__)


class Bookmark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a commit's metadata says: where a restore begins to read the journal.

    `oldest` is the lowest offset of an event that is not over, where the commit has passed
    it: nothing from there on is trimmed.
    """

    journal: int = 0
    epoch: int = 0
    owner: int = 0
    oldest: int | None = None
    controls: int = 0

    @property
    def claim(self) -> Claim:
        """The claim that holds there."""
        return Claim(self.epoch, self.owner)

    @property
    def text(self) -> str:
        """It, as a commit's metadata."""
        return msgspec.json.encode(self).decode() if self != Bookmark() else ""


def bookmark_of(commit: Commit | None) -> Bookmark:
    """The bookmark in a commit; the journal's start where there is none."""
    if commit is None or not commit.metadata:
        return Bookmark()
    try:
        return msgspec.json.decode(commit.metadata, type=Bookmark)
    except msgspec.DecodeError:
        logger.warning("commit.metadata_unreadable", metadata=commit.metadata)
        return Bookmark()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a new owner begins with; `reached` is the offset of its claim."""

    partition: int
    claim: Claim
    state: PartitionState
    bookmark: Bookmark
    reached: int


class Restorer:
    """Claims partitions and reads their journals."""

    def __init__(self, log: Log, journal: Topic) -> None:
        self._log = log
        self._topic = journal

    async def restore(self, assignment: Assignment) -> Restored:
        """Claim a partition and read its journal; tries until the log answers.

        Where another claim was quicker it claims anew: whoever still owns the partition
        in the group's eyes gets it, the other one stops.
        """
        committed = assignment.committed
        bookmark = bookmark_of(committed)
        state = PartitionState(committed.offset if committed else 0, bookmark.claim)
        state.controls.next_offset = bookmark.controls
        reading = _Reading(self._log, self._topic, assignment.partition, state)
        reading.position = bookmark.journal
        owner = new_owner()
        while True:
            await reading.read_to_end()
            claim = state.fence.next_for(owner)
            reached = await self._append(assignment.partition, claim)
            await reading.read_through(reached)
            if state.fence.claim == claim:
                logger.info(
                    "partition.claimed",
                    partition=assignment.partition,
                    epoch=claim.epoch,
                    read_from=bookmark.journal,
                    read_to=reached,
                    unfinished=len(state.open),
                )
                return Restored(assignment.partition, claim, state, bookmark, reached)
            logger.warning(
                "partition.claim_lost",
                partition=assignment.partition,
                epoch=claim.epoch,
            )
            await asyncio.sleep(PAUSE_S)

    async def _append(self, partition: int, claim: Claim) -> int:
        entry = execution_pb2.JournalEntry(
            epoch=claim.epoch,
            owner=claim.owner,
            claim=execution_pb2.Claim(claimed_at_us=time_ns() // 1000),
        )
        key = key_in(partition, self._topic.partitions)
        while True:
            try:
                value = entry.SerializeToString()
                return (await self._log.append(self._topic, key, value)).offset
            except Unavailable as error:
                logger.warning(
                    "partition.claim_delayed", partition=partition, error=str(error)
                )
                await asyncio.sleep(PAUSE_S)


async def while_owned(
    assignment: Assignment, work: Coroutine[None, None, Restored]
) -> Restored | None:
    """What work comes to; nothing where ownership ends before."""
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work)
        ending = tasks.create_task(assignment.wait_ended())
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        working.cancel()
    return None if working.cancelled() else working.result()


@dataclass(slots=True)
class _Reading:
    """Takes a journal's records into a state, from a position on."""

    log: Log
    topic: Topic
    partition: int
    state: PartitionState
    position: int = 0

    async def read_to_end(self) -> None:
        """What is there now; what is not seen yet is seen later, before the claim."""
        while True:
            try:
                bounds = await self.log.bounds(self.topic, self.partition)
                return await self._read(bounds.end)
            except Unavailable as error:
                await self._delay(error)

    async def read_through(self, last: int) -> None:
        """All up to a record that is known to be there, and that record."""
        while self.position <= last:
            try:
                await self._read(last + 1)
            except Unavailable as error:
                await self._delay(error)
            else:
                # A new leader of the partition may not show it for a moment.
                await asyncio.sleep(LOOK_S if self.position <= last else 0)

    async def _read(self, end: int) -> None:
        batches = self.log.read(self.topic, self.partition, self.position, end)
        async for batch in batches:
            for record in batch:
                self._take(record)
            self.position = batch[-1].offset + 1

    def _take(self, record: Record) -> None:
        try:
            entry = execution_pb2.JournalEntry.FromString(record.value or b"")
        except DecodeError:
            logger.warning(
                "journal.unreadable", partition=record.partition, offset=record.offset
            )
            return
        self.state.take(entry)

    async def _delay(self, error: Unavailable) -> None:
        logger.warning(
            "partition.restore_delayed", partition=self.partition, error=str(error)
        )
        await asyncio.sleep(PAUSE_S)


@lru_cache(maxsize=4096)
def key_in(partition: int, partitions: int) -> bytes:
    """A key whose records are in a partition: for what belongs to no flow of it."""
    keys = (b"/%d" % number for number in count())  # a flow's id has no slash
    return next(key for key in keys if partition_of(key, partitions) == partition)
