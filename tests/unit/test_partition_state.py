"""What a partition's journal says: the same from a checkpoint as from all of it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hookline.claims import Claim
from hookline.v1 import execution_pb2
from services.executor.partition_state import PartitionState
from services.executor.watermark import Watermark

Entry = execution_pb2.JournalEntry
Progress = execution_pb2.ExecutionProgress
BEGIN = (0, 0, Claim(0, 0))


class Owner:
    """One that has claimed the partition: what it knows, and what it has written."""

    def __init__(
        self, claim: Claim, state: PartitionState, reached: int, committed: int
    ) -> None:
        self.claim = claim
        self.state = state
        self.reached = reached
        self.watermark = Watermark()
        self.running: dict[int, int] = {}
        self.next_offset = committed
        self.parts = state.checkpoint(())
        self.bookmark: tuple[int, Claim] | None = None
        self.delayed: list[execution_pb2.Checkpoint] = []
        self.last_part = 0

    def entry(self, **more: object) -> Entry:
        """An entry under its claim."""
        entry = Entry(epoch=self.claim.epoch, owner=self.claim.owner)
        entry.MergeFrom(Entry(**more))  # type: ignore[arg-type] # as the caller writes it
        return entry


class Crashes(RuleBasedStateMachine):
    """Owners one after another; each may be ended at any place, with what is not durable.

    `journal` are records in the order in which they were appended, `durable` how many of
    them are so beyond doubt. Of the others a crash leaves some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Entry] = []
        self.durable = 0
        self.committed = BEGIN
        self.events = 0
        self.claims = 0
        self.told: dict[int, int] = {}
        self.ended: set[int] = set()
        self.zombies: list[Owner] = []
        self.owner = self.take_over()

    def restored(self, committed: tuple[int, int, Claim]) -> PartitionState:
        """What a new owner learns."""
        offset, journal, claim = committed
        state = PartitionState(offset, claim, part_bytes=10)
        for entry in self.journal[journal:]:
            state.take(Entry.FromString(entry.SerializeToString()))
        state.settle()
        return state

    def take_over(self) -> Owner:
        """Claim the partition."""
        state = self.restored(self.committed)
        self.claims += 1
        claim = state.fence.next_for(self.claims)
        entry = Entry(epoch=claim.epoch, owner=claim.owner, claim=execution_pb2.Claim())
        assert state.fence.admits(entry)
        self.journal.append(entry)
        self.durable = len(self.journal)
        return Owner(claim, state, self.durable - 1, self.committed[0])

    @rule(count=st.integers(1, 3))
    def read(self, count: int) -> None:
        """Events come and are read, with those that are read again."""
        self.events += count
        while self.owner.next_offset < self.events:
            self.read_one(self.owner.next_offset)
            self.owner.next_offset += 1

    def read_one(self, offset: int) -> None:
        """What has ended is passed over, the rest goes on from where it is."""
        self.owner.watermark.open(offset)
        if self.owner.state.take_ended(offset):
            self.owner.watermark.finish(offset)
            return
        known = self.owner.state.open.get(offset)
        self.owner.running[offset] = known.number if known else 0

    @precondition(lambda self: self.owner.running)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        """An execution comes further."""
        offset = data.draw(st.sampled_from(sorted(self.owner.running)))
        number = self.owner.running[offset] = self.owner.running[offset] + 1
        self.write_progress(self.owner, offset, number)

    def write_progress(self, owner: Owner, offset: int, number: int) -> None:
        progress = Progress(number=number, attempts=number * 10 + owner.claim.owner)
        progress.moved.SetInParent()
        owner.state.move(offset, progress)
        self.journal.append(owner.entry(event_offset=offset, progress=progress))

    @precondition(lambda self: self.owner.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """An execution ends; that is known when it is durable."""
        offset = data.draw(st.sampled_from(sorted(self.owner.running)))
        ended = execution_pb2.ExecutionEnded()
        self.journal.append(self.owner.entry(event_offset=offset, ended=ended))

    @precondition(lambda self: self.durable < len(self.journal))
    @rule(count=st.integers(1, 5))
    def become_durable(self, count: int) -> None:
        """The next records are durable."""
        for entry in self.journal[self.durable : self.durable + count]:
            self.durable += 1
            if Claim.of(entry) == self.owner.claim:
                self.owner.reached = self.durable - 1
                self.learn(entry)

    def learn(self, entry: Entry) -> None:
        """The owner hears that its record is durable."""
        offset = entry.event_offset
        if entry.HasField("ended") and offset in self.owner.running:
            del self.owner.running[offset]
            self.owner.state.end(offset)
            self.owner.watermark.finish(offset)
            self.ended.add(offset)
        elif entry.HasField("progress"):
            self.told[offset] = max(self.told.get(offset, 0), entry.progress.number)

    @precondition(lambda self: self.durable < len(self.journal))
    @rule(data=st.data())
    def write_again(self, data: st.DataObject) -> None:
        """The log did not say whether it has a record: it is there twice."""
        places = range(self.durable, len(self.journal))
        entry = self.journal[data.draw(st.sampled_from(places))]
        if Claim.of(entry) == self.owner.claim:
            self.journal.append(entry)

    @rule()
    def begin_checkpoint(self) -> None:
        """The owner begins to say again what it knows."""
        owner = self.owner
        owner.bookmark = (owner.reached + 1, owner.claim)
        owner.parts = owner.state.checkpoint(owner.watermark.finished)
        owner.delayed = []
        owner.last_part = owner.reached

    @precondition(lambda self: self.owner.bookmark)
    @rule(delayed=st.booleans())
    def write_part(self, *, delayed: bool) -> None:
        """A part of the checkpoint; where the log does not take it, it comes later."""
        owner = self.owner
        part = next(owner.parts, None)
        if part is not None and delayed:
            owner.delayed.append(part)
        elif part is not None or owner.delayed:
            part = part or owner.delayed.pop()
            owner.last_part = len(self.journal)
            self.journal.append(owner.entry(checkpoint=part))
        elif owner.last_part < self.durable:
            assert owner.bookmark is not None
            self.committed = (self.commit_offset(), *owner.bookmark)
            owner.bookmark = None

    @rule()
    def commit(self) -> None:
        """How far the owner has come."""
        self.committed = (self.commit_offset(), *self.committed[1:])

    def commit_offset(self) -> int:
        offset = self.owner.watermark.commit_offset
        return self.committed[0] if offset is None else offset

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """The owner is gone; of what was not durable a part is left. Another takes over."""
        left = data.draw(st.integers(self.durable, len(self.journal)))
        del self.journal[left:]
        for entry in self.journal[self.durable :]:
            if entry.HasField("ended") and entry.epoch == self.owner.claim.epoch:
                self.ended.add(entry.event_offset)
        self.zombies.append(self.owner)
        self.owner = self.take_over()

    @precondition(lambda self: self.zombies and self.events)
    @rule(data=st.data())
    def write_as_zombie(self, data: st.DataObject) -> None:
        """One that has lost the partition writes all the same."""
        zombie = data.draw(st.sampled_from(self.zombies))
        offset = data.draw(st.integers(0, self.events - 1))
        ended = execution_pb2.ExecutionEnded()
        progress = Progress(number=data.draw(st.integers(1, 4)), attempts=666)
        self.journal.append(
            zombie.entry(event_offset=offset, ended=ended)
            if data.draw(st.booleans())
            else zombie.entry(event_offset=offset, progress=progress)
        )

    @invariant()
    def a_restore_is_the_same_as_reading_all(self) -> None:
        """From the commit's bookmark, and from the journal's beginning."""
        short = self.restored(self.committed)
        whole = self.restored((self.committed[0], 0, Claim(0, 0)))
        assert short.fence == whole.fence
        assert short.ended == whole.ended
        assert short.open == whole.open

    @invariant()
    def nothing_durable_is_forgotten(self) -> None:
        """Ends and steps that are in the journal are known to whoever comes next."""
        committed = self.committed[0]
        state = self.restored(self.committed)
        assert {
            one for one in self.ended if one >= committed
        } == state.ended & self.ended
        for offset, number in self.told.items():
            if offset >= committed and offset not in state.ended:
                assert state.open[offset].number >= number
        assert all(one.attempts != 666 for one in state.open.values())


Crashes.TestCase.settings = settings(max_examples=200, stateful_step_count=60)
test_restore_through_any_crashes = Crashes.TestCase


def moved(number: int) -> Entry:
    progress = Progress(number=number, attempts=number)
    progress.moved.SetInParent()
    return Entry(event_offset=5, progress=progress)


def said_again(*numbers: int) -> Entry:
    """The part of a checkpoint that holds what these records say together."""
    state = PartitionState()
    for number in numbers:
        state.take(moved(number))
    return Entry(checkpoint=next(state.checkpoint(())))


def stands_at(*entries: Entry) -> dict[int, int]:
    """How far executions are, when these are read."""
    state = PartitionState()
    for entry in entries:
        state.take(entry)
    return {offset: known.number for offset, known in state.open.items()}


def test_a_part_of_a_checkpoint_may_stand_behind_records_that_go_on_from_it() -> None:
    """It was written anew, as the log did not take it at once."""
    assert stands_at(moved(3), moved(4), said_again(1, 2)) == {5: 4}


def test_an_older_part_of_a_checkpoint_takes_nothing_back() -> None:
    """What has come in between stays, steps and ends."""
    ended = Entry(event_offset=5, ended=execution_pb2.ExecutionEnded())

    assert stands_at(moved(1), moved(2), said_again(1)) == {5: 2}
    assert stands_at(moved(1), moved(2), ended, said_again(1, 2)) == {}
    assert stands_at(moved(2), ended, said_again(1)) == {}


def test_a_record_that_is_there_twice_counts_once() -> None:
    """The log may keep one twice; numbers tell."""
    assert stands_at(moved(1), moved(1), moved(2), moved(1), moved(2)) == {5: 2}
