"""Parked lanes through any schedule of reads, rests, wakes, faults and crashes.

The real lanes, commits, journal and restore, over a log whose every answer is given when
the schedule says so. Nothing is lost, nothing runs out of its order, nothing that has ended
runs again, and the commit passes nothing that a new owner would not find.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hookline.claims import Fence
from hookline.errors import Unavailable
from hookline.log import Bounds as Ends
from hookline.log import Commit, Log, Position, Record, Topic
from hookline.metrics import Metrics
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from services.executor.commits import Commits, Pace
from services.executor.journal import Ended, Journal, Journals
from services.executor.lanes import HELD, Bounds, Finish, Lanes, Rest
from services.executor.restore import Restorer, bookmark_of
from services.executor.tenure import Tenure
from tests.test_restore import Assigned

TOPICS = Topics.with_partitions(1)
METRICS = Metrics(None, None)
LANES = (b"a", b"b", b"c")
LONG = Rest(2**60)
OVER = Rest(1)
BOUNDS = Bounds(lambda: 10_000, events=8, lane_events=3)
PACE = Pace(commit_interval_s=0.0, checkpoint_records=6, checkpoint_interval_s=1_000)
BATCH = 3
TURNS = 12


@dataclass(slots=True)
class World:
    """What outlives an executor: events, the journal as far as it is durable, a commit."""

    events: list[Record] = field(default_factory=list)
    journal: list[bytes] = field(default_factory=list)
    committed: Commit | None = None

    def ended(self) -> list[int]:
        """The events whose end is durable, as any reader sees it."""
        return [one.event_offset for one in self.entries() if one.HasField("ended")]

    def passed(self) -> set[int]:
        """The events that are durable as passed, ever."""
        found: set[int] = set()
        for entry in self.entries():
            for said in (entry.passed, entry.checkpoint.passed):
                for lane in said.lanes:
                    offset = 0
                    for distance in lane.distances:
                        offset += distance
                        found.add(offset)
        return found

    def entries(self) -> list[execution_pb2.JournalEntry]:
        """What counts of the journal."""
        fence = Fence()
        entries = map(execution_pb2.JournalEntry.FromString, self.journal)
        return [entry for entry in entries if fence.admits(entry)]


Waiting = asyncio.Future[None]


@dataclass(slots=True)
class SlowLog:
    """The log as one owner has it: what is asked waits until the schedule answers."""

    world: World
    at_once: bool = True
    dead: bool = False
    appends: list[tuple[bytes, "asyncio.Future[Position]"]] = field(
        default_factory=list
    )
    reads: list[Waiting] = field(default_factory=list)

    def append(self, _: Topic, __: bytes, value: bytes) -> "asyncio.Future[Position]":
        """Take a record of the journal."""
        future = asyncio.get_running_loop().create_future()
        if not self.dead:
            self.appends.append((value, future))
        if self.at_once:
            self.keep(1)
        return future

    def keep(self, count: int) -> None:
        """Make the first few durable that are not."""
        for value, future in self.appends[:count]:
            self.world.journal.append(value)
            future.set_result(Position(0, len(self.world.journal) - 1))
        del self.appends[:count]

    async def read(
        self, topic: Topic, _: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """The journal at once; events when the schedule says so."""
        if topic is TOPICS.executions:
            for offset in range(start, min(end, len(self.world.journal))):
                yield [Record(0, offset, 0, b"", self.world.journal[offset])]
            return
        found = [one for one in self.world.events if start <= one.offset < end]
        for first in range(0, len(found), BATCH):
            if not self.at_once:
                answered: Waiting = asyncio.get_running_loop().create_future()
                self.reads.append(answered)
                await answered
            yield found[first : first + BATCH]

    async def bounds(self, _: Topic, __: int) -> Ends:
        """How long the journal is."""
        return Ends(0, len(self.world.journal))


@dataclass(slots=True)
class SlowAssignment(Assigned):
    """A partition whose commits are kept when the schedule says so."""

    world: World = field(default_factory=World)
    commits: list[tuple[Commit, Waiting]] = field(default_factory=list)

    async def commit(self, commit: Commit) -> None:
        """Nothing is passed that a new owner would not find."""
        if self.ended:
            raise Unavailable("it is over")
        found = {*self.world.ended(), *self.world.passed()}
        before = {o.offset for o in self.world.events if o.offset < commit.offset}
        assert before <= found
        kept: Waiting = asyncio.get_running_loop().create_future()
        self.commits.append((commit, kept))
        await kept

    def keep(self) -> None:
        """The oldest commit that waits is kept."""
        commit, kept = self.commits.pop(0)
        self.world.committed = commit
        if not kept.done():
            kept.set_result(None)


Outcome = Rest | None


class Owner:
    """An executor's hold on the partition, until it crashes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log = SlowLog(world)
        self.assignment = SlowAssignment(world.committed, world=world)
        self.batches: asyncio.Queue[Sequence[Record]] = asyncio.Queue()
        self.running: dict[int, asyncio.Future[Outcome]] = {}
        self.over = set(world.ended())
        self.journal: Journal
        self.lanes: Lanes
        self.commits: Commits
        self.hold: asyncio.Task[None]

    async def begin(self) -> None:
        """Claim, restore, and read on from the commit."""
        restorer = Restorer(cast("Log", self.log), TOPICS.executions, TOPICS.events)
        restored = await restorer.restore(self.assignment)
        committed = self.world.committed.offset if self.world.committed else 0
        passed = {offset for one in restored.state.passed.values() for offset in one}
        before = {one.offset for one in self.world.events if one.offset < committed}
        assert passed == before - self.over
        self.log.at_once = False
        journals = Journals(cast("Log", self.log), TOPICS, METRICS)
        self.journal = journals.under(restored)
        started = asyncio.Event()
        self.hold = asyncio.ensure_future(self._own(started))
        await started.wait()
        left = [one for one in self.world.events if one.offset >= committed]
        for first in range(0, len(left), BATCH):
            self.batches.put_nowait(left[first : first + BATCH])

    async def _own(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.lanes = Lanes(
                self.execute,
                partial(self.log.read, TOPICS.events, 0),
                tasks,
                asyncio.Semaphore(2),
                Tenure(),
                bounds=BOUNDS,
                take_ended=self.journal.state.take_ended,
            )
            self.lanes.restore(self.journal.state.take_passed())
            self.lanes.read_back()
            bookmark = bookmark_of(self.world.committed)
            self.commits = Commits(
                self.assignment, self.lanes, self.journal, bookmark, PACE
            )
            self.commits.lowest_needed = lambda: self.lanes.lowest_unfinished
            tasks.create_task(self.commits.run())
            started.set()
            while True:
                self.lanes.add(await self.batches.get())
                await self.lanes.wait_for_room()

    async def execute(self, record: Record, finish: Finish, _: Tenure) -> Outcome:
        """The next of its lane, and of those that have not ended; as long as it likes."""
        lane = [one.offset for one in self.world.events if one.key == record.key]
        assert record.offset == min(set(lane) - self.over)
        assert not self.running.keys() & set(lane)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.running[record.offset] = future
        rest = await future
        if rest is None:
            self.over.add(record.offset)
            event = event_pb2.Event(id=str(record.offset))
            how = Ended(execution_pb2.STATUS_COMPLETED, 0, 1)
            self.journal.write_ended(event, record, how, finish)
        return rest

    def decide(self, offset: int, outcome: Outcome) -> None:
        """An execution ends, or rests."""
        self.running.pop(offset).set_result(outcome)

    async def crash(self) -> None:
        """It is gone at once."""
        self.log.dead = self.assignment.ended = True
        self.lanes.stop()
        self.hold.cancel()
        await asyncio.gather(self.hold, return_exceptions=True)


class Parking(RuleBasedStateMachine):
    """One owner after another, and whatever may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.strays: list[bytes] = []
        self.owner = Owner(self.world)
        self.run(self.owner.begin())

    def run(self, first: Coroutine[Any, Any, None] | None = None) -> None:
        """Do something, and let everything run that can."""

        async def turns() -> None:
            if first is not None:
                await first
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        if self.owner.hold.done() and not self.owner.log.dead:
            self.owner.hold.result()

    @rule(keys=st.lists(st.sampled_from(LANES), min_size=1, max_size=8))
    def come(self, keys: list[bytes]) -> None:
        """Events come; some offsets are never given."""
        events = self.world.events
        batch = []
        for key in keys:
            offset = events[-1].offset + 1 + (key == b"c") if events else 0
            events.append(Record(0, offset, 0, key, b"x"))
            batch.append(events[-1])
        self.owner.batches.put_nowait(batch)
        self.run()

    @precondition(lambda self: self.owner.running)
    @rule(
        data=st.data(),
        outcome=st.sampled_from([None, None, None, HELD, LONG, OVER]),
    )
    def decide(self, data: st.DataObject, outcome: Outcome) -> None:
        """An event ends, is held, or rests."""
        offset = data.draw(st.sampled_from(sorted(self.owner.running)))
        self.owner.decide(offset, outcome)
        self.run()

    @rule(key=st.sampled_from(LANES), running=st.booleans())
    def wake(self, key: bytes, *, running: bool) -> None:
        """Somebody decides about a lane, perhaps in the moment in which it would rest."""
        lane = {one.offset for one in self.world.events if one.key == key}
        for offset in lane & self.owner.running.keys() if running else ():
            self.owner.decide(offset, HELD)
        self.owner.lanes.wake(key)
        self.run()

    @precondition(lambda self: self.owner.log.reads)
    @rule(fails=st.sampled_from([False, False, False, True]))
    def answer_read(self, *, fails: bool) -> None:
        """The log gives what was asked to be read back, or cannot."""
        answered = self.owner.log.reads.pop(0)
        if answered.done():
            return
        if fails:
            answered.set_exception(Unavailable("not now"))
        else:
            answered.set_result(None)
        self.run()

    @precondition(lambda self: self.owner.log.appends)
    @rule(count=st.integers(1, 6))
    def become_durable(self, count: int) -> None:
        """The next records of the journal are durable."""
        self.owner.log.keep(count)
        self.run()

    @precondition(lambda self: self.owner.assignment.commits)
    @rule()
    def keep_commit(self) -> None:
        """A commit is kept."""
        self.owner.assignment.keep()
        self.run()

    @precondition(lambda self: self.world.journal or self.strays)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A record of the journal is there again, late; or one of an owner of before."""
        values = [*self.world.journal, *self.strays]
        value = data.draw(st.sampled_from(values))
        if not execution_pb2.JournalEntry.FromString(value).HasField("ended"):
            self.world.journal.append(value)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Of what was on its way a part has arrived."""
        owner = self.owner
        kept = data.draw(st.integers(0, len(owner.log.appends)))
        values = [value for value, _ in owner.log.appends]
        commits = [commit for commit, _ in owner.assignment.commits]
        self.run(owner.crash())
        self.world.journal += values[:kept]
        self.strays += values[kept:]
        if commits and data.draw(st.sampled_from([True, False])):
            self.world.committed = commits[0]
        self.owner = Owner(self.world)
        self.run(self.owner.begin())

    @invariant()
    def memory_is_bounded(self) -> None:
        """Bytes are records here: no more than the bound, and what comes at once."""
        lanes = self.owner.lanes
        assert lanes.unfinished - lanes.parked <= BOUNDS.events + 8

    @invariant()
    def nothing_that_is_needed_is_given_up(self) -> None:
        """What the commit says may be trimmed is needed by nobody."""
        if (kept := self.world.committed) is not None:
            needed = {one.offset for one in self.world.events} - set(self.world.ended())
            oldest = bookmark_of(kept).oldest
            lowest = kept.offset if oldest is None else min(oldest, kept.offset)
            assert lowest <= min(needed, default=2**60)

    def teardown(self) -> None:
        """In the end every event has ended, once."""
        try:
            self._let_everything_end()
            ended = self.world.ended()
            assert sorted(ended) == [one.offset for one in self.world.events]
            assert not self.owner.lanes.unfinished
            assert self.owner.lanes.parked == 0
            self.run(self.owner.crash())
        finally:
            self.loop.close()

    def _let_everything_end(self) -> None:
        owner = self.owner
        for _ in range(40 + 20 * len(self.world.events)):
            for offset in list(owner.running):
                owner.decide(offset, None)
            for answered in owner.log.reads:
                if not answered.done():
                    answered.set_result(None)
            owner.log.reads.clear()
            owner.log.keep(len(owner.log.appends))
            while owner.assignment.commits:
                owner.assignment.keep()
            for key in LANES:
                owner.lanes.wake(key)
            self.run()
            last = self.world.events[-1].offset + 1 if self.world.events else 0
            if not owner.lanes.unfinished and owner.lanes.commit_offset in {None, last}:
                return


Parking.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None
)
test_parking_through_any_schedule = Parking.TestCase
