"""Versions and decisions of a flow: the same for all who read them, whenever they do.

Authors write from what they have read, which may be old; a lost answer leaves a record
twice; compaction takes what it may, whenever it likes; readers come late, and lag.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hookline.flow_records import (
    ACTIVE,
    DELETED,
    STOPPED,
    SUSPENDED,
    FlowRecords,
    State,
    decision_key,
    version_key,
)
from hookline.log import Record
from hookline.v1 import flow_pb2

AUTHORS = 3
STATES = st.sampled_from([ACTIVE, SUSPENDED, STOPPED, DELETED])
authors = st.integers(0, AUTHORS - 1)


@dataclass(slots=True)
class Topic:
    """A compacted topic."""

    records: list[Record] = field(default_factory=list)
    end: int = 0

    def append(self, key: bytes, value: bytes | None) -> None:
        self.records.append(Record(0, self.end, 0, key, value))
        self.end += 1

    def compact(self, before: int) -> None:
        """Of each key keep the newest record; of these no empty one before an offset."""
        newest = {one.key: one.offset for one in self.records if one.offset < before}
        self.records = [
            one
            for one in self.records
            if one.offset >= before
            or (newest[one.key] == one.offset and one.value is not None)
        ]


@dataclass(slots=True)
class Reader:
    """What one process knows."""

    known: FlowRecords = field(default_factory=FlowRecords)
    position: int = 0

    def read(self, topic: Topic, before: int) -> None:
        for one in topic.records:
            if self.position <= one.offset < before:
                self.known.take(one)
        self.position = max(self.position, before)

    def view(self) -> object:
        """All that anybody asks."""
        known = self.known
        return (
            known.state("f"),
            known.decision("f"),
            known.served("f"),
            known.versions("f"),
            [known.is_discarded("f", one.version) for one in known.versions("f")],
        )


@dataclass(slots=True)
class Author(Reader):
    """A router: what it is writing, and whether that may be in the log twice."""

    key: bytes = b""
    message: flow_pb2.Flow | flow_pb2.FlowDecision | None = None


class Histories(RuleBasedStateMachine):
    """Authors, readers and compaction in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.topic = Topic()
        self.authors = [Author() for _ in range(AUTHORS)]
        self.readers: list[Reader] = []
        # What was said to have come about.
        self.decided: dict[int, flow_pb2.FlowDecision] = {}
        self.applied: dict[int, flow_pb2.Flow] = {}

    @rule(at=authors)
    def apply(self, at: int) -> None:
        """A version, by what the author knows."""
        author = self.authors[at]
        if author.message is None:
            current = author.known.current("f")
            version = (current.version if current else 0) + 1
            name = f"{at}: {self.topic.end}"
            follows = author.known.decision("f").number
            self.write(
                author,
                version_key("f", version),
                flow_pb2.Flow(
                    id="f", version=version, name=name, follows_decision=follows
                ),
            )

    @rule(
        at=authors,
        state=STATES,
        discard=st.booleans(),
    )
    def decide(self, at: int, state: State, discard: bool) -> None:
        """A decision, by what the author knows."""
        author = self.authors[at]
        if author.message is None and author.known.current("f"):
            before = author.known.decision("f")
            number = before.number + 1
            discards = number if discard and state == DELETED else before.discards
            self.write(
                author,
                decision_key("f", number),
                flow_pb2.FlowDecision(
                    flow_id="f",
                    number=number,
                    state=state,
                    decided_at_us=self.topic.end,
                    discards=discards,
                ),
            )

    def write(
        self, author: Author, key: bytes, message: flow_pb2.Flow | flow_pb2.FlowDecision
    ) -> None:
        author.key, author.message = key, message
        self.topic.append(key, message.SerializeToString())

    @rule(at=authors)
    def write_twice(self, at: int) -> None:
        """The answer was lost, and the log's client has sent it again."""
        author = self.authors[at]
        if author.message is not None:
            self.topic.append(author.key, author.message.SerializeToString())

    @rule(first=STATES, second=STATES, twice=st.booleans())
    def race(self, first: State, second: State, twice: bool) -> None:
        """Two decide of the same; the answer to the first is lost."""
        one, other = self.authors[:2]
        if one.message is None and other.message is None:
            for author in (one, other):
                author.read(self.topic, self.topic.end)
            self.decide(0, first, discard=True)
            self.decide(1, second, discard=False)
            if twice:
                self.write_twice(0)

    @rule(at=authors)
    def hear(self, at: int) -> None:
        """The author reads what has come of it, and takes out what is stale."""
        author = self.authors[at]
        author.read(self.topic, self.topic.end)
        match author.message:
            case flow_pb2.Flow() as flow:
                if author.known.version("f", flow.version) == flow:
                    assert flow.version not in self.applied
                    self.applied[flow.version] = flow
            case flow_pb2.FlowDecision() as decision:
                if author.known.has_held(author.key):
                    assert decision.number not in self.decided
                    self.decided[decision.number] = decision
        author.key, author.message = b"", None
        for key in author.known.stale_keys("f"):
            self.topic.append(key, None)

    @rule()
    def come(self) -> None:
        """Somebody begins to read."""
        self.readers.append(Reader())

    @precondition(lambda self: self.readers)
    @rule(at=st.integers(0, 5), share=st.floats(0, 1))
    def read(self, at: int, share: float) -> None:
        """Somebody reads on."""
        reader = self.readers[at % len(self.readers)]
        reader.read(self.topic, int(self.topic.end * share))

    @rule(share=st.floats(0, 1))
    def compact(self, share: float) -> None:
        """The log takes what is not the newest of its key."""
        lowest = min((one.position for one in self.authors), default=0)
        self.topic.compact(min(int(self.topic.end * share), lowest))

    @invariant()
    def what_an_author_has_heard_of_stays(self) -> None:
        """What has come about is what every author says that has read it."""
        for author in self.authors:
            for one in author.known.versions("f"):
                assert self.applied.get(one.version, one) == one

    def teardown(self) -> None:
        """When nobody writes any more, all agree, whoever has read what."""
        for at in range(AUTHORS):
            self.hear(at)
        self.hear(0)
        everybody = [*self.authors, *self.readers, late := Reader()]
        for one in everybody:
            one.read(self.topic, self.topic.end)
        views = [one.view() for one in everybody]
        assert all(view == views[0] for view in views)
        self.check_what_came_about(late)
        self.topic.compact(self.topic.end)
        last = Reader()
        last.read(self.topic, self.topic.end)
        assert last.view() == views[0]
        versions = len(late.known.versions("f"))
        assert len(self.topic.records) == versions + bool(self.decided)

    def check_what_came_about(self, late: Reader) -> None:
        if self.decided:
            number = max(self.decided)
            assert late.known.decision("f") == self.decided[number]
        versions = {one.version: one for one in late.known.versions("f")}
        assert versions == self.applied


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None
)


def record(key: bytes, message: flow_pb2.Flow | flow_pb2.FlowDecision) -> Record:
    """A record as it is read."""
    return Record(0, 0, 0, key, message.SerializeToString())


def flow(version: int, follows: int = 0) -> Record:
    """A version's record."""
    message = flow_pb2.Flow(id="f", version=version, follows_decision=follows)
    return record(version_key("f", version), message)


def decision(number: int, state: State, discards: int = 0) -> Record:
    """A decision's record."""
    message = flow_pb2.FlowDecision(
        flow_id="f", number=number, state=state, discards=discards
    )
    return record(decision_key("f", number), message)


def read(*records: Record) -> FlowRecords:
    """What all of these say."""
    known = FlowRecords()
    for one in records:
        known.take(one)
    return known


def test_a_version_whose_author_did_not_know_of_the_deletion_does_not_bring_back() -> (
    None
):
    """Whichever of the two is first in the log; one that knew of it does."""
    for unknowing in (
        read(flow(1), decision(1, DELETED), flow(2)),
        read(flow(1), flow(2), decision(1, DELETED)),
    ):
        assert unknowing.state("f") == DELETED
        assert unknowing.served("f") is None
    knowing = read(flow(1), decision(1, DELETED), flow(2, follows=1))

    assert knowing.state("f") == ACTIVE


def test_a_discard_concerns_the_versions_before_it_also_after_later_decisions() -> None:
    """Each decision carries on what the ones before it have discarded."""
    known = read(
        flow(1),
        decision(1, DELETED, discards=1),
        flow(2, follows=1),
        decision(2, SUSPENDED, discards=1),
    )

    assert known.is_discarded("f", 1)
    assert not known.is_discarded("f", 2)
    assert known.state("f") == SUSPENDED


def test_of_two_decisions_about_the_same_the_first_counts() -> None:
    """The second is stale, and so is what both replace; the first one never is."""
    records = [flow(1), decision(1, SUSPENDED), decision(2, STOPPED)]
    records.append(decision(2, ACTIVE))
    # Read again from the beginning, as after a jump of the log's start.
    known = read(*records, *records)

    assert known.state("f") == STOPPED
    assert set(known.stale_keys("f")) == {records[1].key, records[3].key}
    assert known.has_held(records[2].key)
    assert not known.has_held(records[3].key)
