"""Controls through crashes: each is carried out once, and what it made is never lost."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from hookline.v1 import control_pb2, execution_pb2
from services.executor.deciding import decide
from services.executor.partition_state import PartitionState
from services.executor.taken_controls import REMEMBERED, TakenControls
from tests.unit.test_partition_state import Crashes, Entry, Owner, Progress

KINDS = ("retry_now", "skip", "cancel", "edit_and_retry")


class Controls(Crashes):
    """As crashes of owners; people decide about events meanwhile.

    The owner takes controls one after another: the next one when the record of the one
    before is durable.
    """

    def __init__(self) -> None:
        self.controls: list[control_pb2.Control] = []
        self.taking: Entry | None = None
        # By id: the durable records that say that something came of it.
        self.carried_out: dict[str, list[Entry]] = {}
        super().__init__()
        self.read(3)

    def take_over(self) -> Owner:
        """Whatever the one before was at is left to the journal."""
        self.taking = None
        return super().take_over()

    @rule(
        data=st.data(),
        kind=st.sampled_from(KINDS),
        times=st.integers(1, 2),
        taken=st.booleans(),
    )
    def ask(self, *, data: st.DataObject, kind: str, times: int, taken: bool) -> None:
        """A person decides; where the log did not say whether it has it, it has two."""
        offset = data.draw(st.sampled_from(sorted(self.owner.running) or [0]))
        control = control_pb2.Control(id=str(len(self.controls)), event_offset=offset)
        getattr(control, kind).SetInParent()
        self.controls += [control] * times
        if taken:
            self.take_controls(all_durable=True)

    @rule(all_durable=st.booleans())
    def take_controls(self, *, all_durable: bool) -> None:
        """The owner reads the next control; all, where the log is quick."""
        while not self.taking and self.take_control() and all_durable:
            self.become_durable(len(self.journal))

    def take_control(self) -> bool:
        """Write down what the next control makes; tells whether there was one."""
        owner = self.owner
        place = owner.state.controls.next_offset
        if place >= len(self.controls):
            return False
        control = self.controls[place]
        taken = execution_pb2.ControlTaken(
            control_offset=place, control_id=control.id, no_effect="it has ended"
        )
        if owner.state.controls.has(control.id):
            taken.no_effect = "it is there twice"
        elif control.event_offset in owner.running:
            known = owner.state.open.get(control.event_offset)
            decision = decide(control, known, None)
            if isinstance(decision, str):
                taken.no_effect = decision
            else:
                taken.ClearField("no_effect")
                taken.progress.CopyFrom(decision)
                owner.state.move(control.event_offset, decision)
                owner.running[control.event_offset] = decision.number
        self.taking = owner.entry(event_offset=control.event_offset, control=taken)
        self.journal.append(self.taking)
        return True

    @precondition(lambda self: self.owner.running)
    @rule(data=st.data(), doing=st.sampled_from(("held", "failed", "started")))
    def come_to(self, data: st.DataObject, doing: str) -> None:
        """An execution is held, waits, or has started what is not repeatable."""
        offset = data.draw(st.sampled_from(sorted(self.owner.running)))
        number = self.owner.running[offset] = self.owner.running[offset] + 1
        progress = Progress(number=number, attempts=number * 10)
        getattr(progress, doing).SetInParent()
        self.owner.state.move(offset, progress)
        self.journal.append(self.owner.entry(event_offset=offset, progress=progress))

    def learn(self, entry: Entry) -> None:
        """The owner hears that its record is durable."""
        super().learn(entry)
        if not entry.HasField("control"):
            return
        if self.taking == entry:
            self.owner.state.controls.take(entry.control)
            self.taking = None
        if entry.control.HasField("progress"):
            found = self.carried_out.setdefault(entry.control.control_id, [])
            found += [entry] if entry not in found else []
            number = entry.control.progress.number
            self.told[entry.event_offset] = max(
                self.told.get(entry.event_offset, 0), number
            )

    @invariant()
    def each_is_carried_out_once(self) -> None:
        """However often it is there, and whoever has read it."""
        assert all(len(found) == 1 for found in self.carried_out.values())

    @invariant()
    def no_control_is_passed_over(self) -> None:
        """Whoever comes next reads on behind the last that is in the journal."""
        short, state = self.restored(self.committed), self.owner.state
        whole = self.restored((self.committed[0], 0, type(self.owner.claim)(0, 0)))
        reached = whole.controls.next_offset
        assert short.controls.next_offset == reached
        assert reached in {state.controls.next_offset, state.controls.next_offset + 1}


Controls.TestCase.settings = settings(max_examples=100, stateful_step_count=60)
test_controls_through_any_crashes = Controls.TestCase


def test_only_the_newest_controls_are_remembered() -> None:
    """Where a checkpoint stands behind newer records, they stay the newest."""
    taken = TakenControls()
    for number in range(REMEMBERED + 2):
        taken.take(
            execution_pb2.ControlTaken(control_offset=number, control_id=str(number))
        )
    [part] = taken.checkpoint()
    later = TakenControls()
    later.take(execution_pb2.ControlTaken(control_offset=5000, control_id="new"))
    later.take_part(part.controls)

    assert [taken.has(one) for one in ("0", "1", "2", str(REMEMBERED + 1))] == [
        *(False, False),
        *(True, True),
    ]
    assert [later.has(one) for one in ("2", "3", "new")] == [False, True, True]
    assert later.next_offset == 5001


def known(**doing: object) -> Progress:
    """An execution that has come to something."""
    state = PartitionState()
    progress = Progress(number=4, attempts=2, started_at_us=9)
    progress.MergeFrom(Progress(**doing))  # type: ignore[arg-type] # as it is written
    state.move(5, progress)
    return state.open[5]


def merged(control: control_pb2.Control, progress: Progress) -> Progress:
    """What an execution is when a control was carried out."""
    decision = decide(control, progress, None)
    assert isinstance(decision, Progress)
    state = PartitionState()
    state.move(5, progress)
    state.move(5, decision)
    return state.open[5]


def control(what: str) -> control_pb2.Control:
    one = control_pb2.Control(by="Ada")
    getattr(one, what).SetInParent()
    return one


def test_a_retry_takes_away_what_holds_it_and_counts_anew() -> None:
    """But of one that waits, the attempts go on, and the next is due."""
    held = execution_pb2.Held(step="s", attempts=7, indeterminate=True)
    failed = execution_pb2.AttemptFailed(step="s", attempt=3, next_at_us=2**60)
    retried, waited = (
        merged(control("retry_now"), known(held=held)),
        merged(control("retry_now"), known(failed=failed)),
    )

    assert not retried.HasField("held")
    assert (retried.attempts, retried.started_at_us) == (7, 9)
    assert (waited.failed.attempt, waited.failed.next_at_us) == (3, 0)


def test_a_decision_keeps_what_was_known_and_is_the_last() -> None:
    """Why it was held is told in its end; whoever asks later asks for nothing."""
    held = execution_pb2.Held(step="s", reason="busy", attempts=7)
    skipped = merged(control("skip"), known(held=held))

    assert skipped.decided.status == execution_pb2.STATUS_SKIPPED
    assert skipped.held.reason == "busy"
    for what in KINDS:
        assert decide(control(what), skipped, None) == "it is skipped already"


def test_an_edit_begins_anew_and_edits_are_counted() -> None:
    """What was done under the event as it was is left behind."""
    progress = known(moved=execution_pb2.MessagesMoved(results=[b"1"]))
    first = merged(control("edit_and_retry"), progress)
    second = merged(control("edit_and_retry"), first)

    assert not first.HasField("moved")
    assert (first.edited.number, second.edited.number) == (1, 2)


def test_what_has_not_begun_is_not_retried() -> None:
    """It waits for its turn; what a newer version may have asked is told apart."""
    assert "turn" in str(decide(control("retry_now"), None, None))
    assert "newer" in str(decide(control_pb2.Control(), None, None))
