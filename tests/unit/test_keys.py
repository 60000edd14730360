"""Which events are repeats: a model of a few lines, thousands of schedules, every restore.

A schedule makes events arrive, be read, end and be committed, lets snapshots and bookmarks
be written or be lost, and crashes at any of these; what is restored decides as the model
does, whose memory nobody takes away.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.event import new_event_id
from hookline.event_ids import keyed_event_id
from hookline.log import Record
from hookline.v1 import event_pb2
from services.executor.keys import ONCE_MORE, Keys, Repeat, Snapshot

KEYS = ("a", "b", "c", "d")
IDS = {key: keyed_event_id("flow", key) for key in KEYS}
SKEWS_S = (0, 0, -2, 2)
WINDOWS_S = (1, 60, 60, 3600)
MOST = 6
SECOND = 1_000_000


@dataclass
class Model:
    """Every first of a key there was, and which of them a bounded memory still has."""

    half: int
    # Key, offset, end of its window, digest: in the order in which they were put.
    newer: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    older: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def decide(self, offset: int, event: event_pb2.Event) -> Repeat | None:
        key = event.dedupe_key
        if not key:
            is_known = event.id in self.ids
            self.ids.add(event.id)
            return Repeat(ONCE_MORE, conflict=False) if is_known else None
        known = self.newer.get(key) or self.older.get(key)
        if known and event.accepted_at_us <= known[1]:
            return Repeat(known[0], known[2] != event.body_digest)
        if len(self.newer) >= self.half and key not in self.newer:
            self.older, self.newer = self.newer, {}
        ends_us = event.accepted_at_us + event.dedupe_window_s * SECOND
        self.newer[key] = offset, ends_us, event.body_digest
        return None


class Schedule:
    """One partition: its log, its journal, an owner of it, and what would be restored.

    Each byte of a schedule says what comes next; the byte behind it says how.
    """

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.decisions: dict[int, Repeat] = {}
        self.model = Model(MOST // 2)
        self.now_us = 1_700_000_000 * SECOND
        self.keys = Keys(most_keys=MOST)
        self.ended: set[int] = set()
        self.committed = 0
        # What is durable: a snapshot, and a checkpoint with what has ended since.
        self.snapshot: Snapshot | None = None
        self.covers = 0
        self.repeats: dict[int, Repeat] = {}
        self.ended_since: set[int] = set()

    def run(self, schedule: bytes) -> None:
        """Do all of it, and look after each step."""
        steps = (
            *(self.arrive, self.arrive, self.arrive, self.read, self.read, self.end),
            *(self.end, self.commit, self.commit_past_parked, self.arrive_without_key),
            *(self.pass_time, self.keep_snapshot, self.keep_checkpoint, self.crash),
        )
        for what, how in zip(schedule[::2], schedule[1::2], strict=False):
            steps[what % len(steps)](how)
            self.look()

    def arrive(self, how: int) -> None:
        """A request with a key, perhaps of a router whose clock is off."""
        key = KEYS[how % 4]
        event = event_pb2.Event(
            id=IDS[key],
            flow_id="flow",
            flow_version=1,
            accepted_at_us=self.now_us + SKEWS_S[how // 4 % 4] * SECOND,
            dedupe_key=key,
            body_digest=bytes([how // 128]) * 8,
            dedupe_window_s=WINDOWS_S[how // 16 % 4],
        )
        self._append(event)

    def arrive_without_key(self, how: int) -> None:
        """One without a key, or the record of one before once more."""
        before = [one for one in self.log[-5:] if (one.value or b"")[16:17] == b"7"]
        if how % 2 and before:
            self._append(event_pb2.Event.FromString(before[0].value or b""))
        else:
            self._append(event_pb2.Event(id=new_event_id(), flow_id="flow"))

    def _append(self, event: event_pb2.Event) -> None:
        offset = len(self.log)
        record = Record(0, offset, 0, b"flow", event.SerializeToString())
        self.log.append(record)
        if repeat := self.model.decide(offset, event):
            self.decisions[offset] = repeat

    def pass_time(self, how: int) -> None:
        """Some of it, or more than any window."""
        self.now_us += (1, 30, 59, 4000)[how % 4] * SECOND

    def read(self, how: int) -> None:
        """The owner reads on."""
        covers = self.keys.covers
        self.keys.read(self.log[covers : covers + 1 + how % 6])

    def end(self, how: int) -> None:
        """An event that was read has ended, and that is durable."""
        open_events = sorted(set(range(self.keys.covers)) - self.ended)
        if open_events:
            offset = open_events[how % len(open_events)]
            self.ended.add(offset)
            self.ended_since.add(offset)
            self.keys.end(offset)

    def commit(self, _how: int) -> None:
        """Up to the lowest that has not ended."""
        while self.committed in self.ended and self.committed < self.keys.covers:
            self.committed += 1

    def commit_past_parked(self, how: int) -> None:
        """A commit may pass what is parked, and is read again by its offset."""
        if self.committed < self.keys.covers:
            self.committed += how % (self.keys.covers - self.committed + 1)

    def keep_snapshot(self, _how: int) -> None:
        """All keys are durable, and named by the commit; so are repeats until then."""
        self.snapshot = self.keys.snapshot()
        self.repeats.update(self._written())

    def keep_checkpoint(self, _how: int) -> None:
        """The bookmark moves: what is said from here on is all that is read."""
        self.covers = self.keys.covers
        self.repeats = self._written()
        # Ends above the commit are said again.
        self.ended_since = {one for one in self.ended if one >= self.committed}

    def _written(self) -> dict[int, Repeat]:
        return {
            one.event_offset: Repeat(one.first_offset, one.conflict)
            for part in self.keys.checkpoint()
            for one in part.repeats.repeats
        }

    def crash(self, _how: int) -> None:
        """The next owner begins with what is durable."""
        since = self.snapshot.covers if self.snapshot else 0
        self.keys = Keys(
            since,
            decided_below=self.covers,
            ended=frozenset(self.ended_since),
            most_keys=MOST,
        )
        if self.snapshot:
            packed = [part.keys.rows for part in self.snapshot.parts(7)]
            self.keys.load(b"".join(packed))
        self.keys.read(self.log[since : self.committed])
        self.keys.covers = max(self.keys.covers, self.committed)
        self.keys.repeats.update(
            {o: one for o, one in self.repeats.items() if o not in self.ended_since}
        )

    def look(self) -> None:
        """Of all that was read and has not ended the owner knows what the model does."""
        covers = self.keys.covers
        expected = {
            offset: repeat
            for offset, repeat in self.decisions.items()
            if offset < covers and offset not in self.ended
        }
        assert {o: r for o, r in self.keys.repeats.items() if o < covers} == expected


@settings(max_examples=1_000, deadline=None)
@given(st.binary(min_size=40, max_size=120))
def test_every_owner_decides_as_if_it_had_always_been_there(schedule: bytes) -> None:
    """Whatever is durable when the one before it is gone."""
    Schedule().run(schedule)


def test_a_snapshot_that_is_not_whole_is_none() -> None:
    packed = Keys().snapshot().packed
    for broken in (b"", packed[:-1], packed + b"x"):
        try:
            Keys().load(broken)
        except ValueError:
            continue
        raise AssertionError(broken)
