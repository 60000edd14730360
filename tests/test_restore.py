"""Claiming a partition and reading its journal, on each of the logs."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hookline.claims import Claim
from hookline.log import Commit, Log, Record, kafka, sqlite
from hookline.topics import Topics
from hookline.v1 import execution_pb2
from services.executor.restore import Bookmark, Restored, Restorer, while_owned

TOPICS = Topics.with_partitions(1)
FLOW = b"flow"


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    if request.param == "sqlite":
        async with sqlite.open_log(tmp_path / "data", TOPICS.all) as opened:
            yield opened
        return
    servers = request.getfixturevalue("kafka_servers")
    cluster = kafka.Cluster(servers, prefix=f"{uuid.uuid4().hex}.")
    one = kafka.Durability(replication=1, min_insync=1)
    await kafka.create_topics(cluster, TOPICS.all, one)
    async with kafka.open_log(cluster, TOPICS.all, durability=one) as on_kafka:
        yield on_kafka


@dataclass(slots=True)
class Assigned:
    """A partition as a member of the group has it."""

    committed: Commit | None = None
    partition: int = 0
    ended: bool = False
    batches: tuple[Sequence[Record], ...] = ()

    async def records(self) -> AsyncIterator[Sequence[Record]]:
        """Nothing: its events are not what is looked at."""
        for batch in self.batches:
            yield batch

    def owned(self) -> bool:
        return not self.ended

    async def wait_ended(self) -> None:
        if not self.ended:
            await asyncio.Event().wait()

    async def commit(self, commit: Commit) -> None:
        self.committed = commit

    def release(self) -> None:
        self.ended = True


async def write(log: Log, claim: Claim, offset: int) -> None:
    """Write an end to the journal."""
    entry = execution_pb2.JournalEntry(
        epoch=claim.epoch, owner=claim.owner, event_offset=offset
    )
    entry.ended.attempts = 1
    await log.append(TOPICS.executions, FLOW, entry.SerializeToString())


async def restored(log: Log, committed: Commit | None = None) -> Restored:
    """What a new owner begins with."""
    return await Restorer(log, TOPICS.executions, TOPICS.events).restore(
        Assigned(committed)
    )


async def test_each_owner_has_a_higher_epoch_and_knows_what_was_written(
    log: Log,
) -> None:
    """What the one before it writes afterwards is nothing to anybody."""
    first = await restored(log)
    await write(log, first.claim, 3)
    second = await restored(log)
    await write(log, first.claim, 4)
    await write(log, second.claim, 5)
    third = await restored(log)

    assert [one.claim.epoch for one in (first, second, third)] == [1, 2, 3]
    assert (second.state.ended, third.state.ended) == ({3}, {3, 5})


async def test_of_owners_that_claim_at_once_each_gets_an_epoch_of_its_own(
    log: Log,
) -> None:
    """Whoever is second claims anew, if the group still says that it owns the partition."""
    found = await asyncio.gather(*(restored(log) for _ in range(3)))
    epochs = sorted(one.claim.epoch for one in found)
    last = await restored(log)

    assert len(set(epochs)) == 3
    assert last.claim.epoch == epochs[-1] + 1


async def test_a_restore_begins_where_the_commit_says(log: Log) -> None:
    """What is older is not read, what stands before the commit is not kept."""
    first = await restored(log)
    for offset in range(5):
        await write(log, first.claim, offset)
    place = Bookmark(first.reached + 3, *first.claim)

    second = await restored(log, Commit(4, place.text))

    assert second.state.ended == {4}
    assert second.bookmark == place
    assert len(place.text) < 100


@pytest.mark.parametrize("metadata", ["", "not JSON", '{"journal": "x"}', "[]"])
async def test_metadata_that_says_nothing_is_the_journals_beginning(
    log: Log, metadata: str
) -> None:
    """As of a group whose offset a person has set with Kafka's tools."""
    first = await restored(log)
    await write(log, first.claim, 7)

    assert (await restored(log, Commit(0, metadata))).state.ended == {7}


async def test_what_is_no_journal_entry_is_passed_over(log: Log) -> None:
    """Somebody else's bytes in the topic stop no partition."""
    await log.append(TOPICS.executions, FLOW, b"\xff no protobuf")
    first = await restored(log)

    assert first.claim.epoch == 1
    assert not first.state.ended


async def test_a_restore_ends_with_ownership(log: Log) -> None:
    """Nothing is begun in a partition that is given away meanwhile."""
    lost = Assigned(ended=True)

    assert (
        await while_owned(
            lost, Restorer(log, TOPICS.executions, TOPICS.events).restore(lost)
        )
        is None
    )
