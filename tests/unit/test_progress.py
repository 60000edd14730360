"""Where an execution stands, through records: a resumed one is where it was."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from hookline.event import Attachment, InMemory, Message, Value
from hookline.v1 import execution_pb2
from services.executor.progress import Progress, merge
from tests.builders import message

STEPS = 5
FILE = Attachment("text/plain", InMemory(b"of the event"))


def first_message() -> Message:
    return message({"n": 0}, headers={"a": "b"}, attachments={"file": FILE})


@dataclass(slots=True)
class Running:
    """An execution, and what its records say."""

    progress: Progress = field(default_factory=lambda: Progress.begin(first_message()))
    known: execution_pb2.ExecutionProgress | None = None
    number: int = 0

    def step(self, made: list[Value], *, pass_on: bool) -> None:
        """Run the next step; it makes messages with these bodies, or passes its own on."""
        waiting = self.progress.next()
        if waiting.next_step == STEPS:
            self.progress.passed_last()
            return
        got = waiting.message.derive(step_id=f"step-{waiting.next_step}")
        out = [got] if pass_on else [_made(got, body) for body in made]
        self.progress.step_done(got.step_id, waiting.next_step + 1, out, 1)

    async def record(self) -> None:
        """Write down where it is."""
        self.number += 1
        change = execution_pb2.ExecutionProgress(
            number=self.number,
            attempts=self.progress.attempts,
            moved=await self.progress.moved(),
        )
        self.progress.told()
        change = execution_pb2.ExecutionProgress.FromString(change.SerializeToString())
        self.known = merge(self.known, change)

    def resumed(self) -> Progress:
        """The same on another owner."""
        assert self.known is not None
        return Progress.resume(first_message(), self.known)


def _made(got: Message, body: Value) -> Message:
    headers = {"x": str(body)}
    return got.derive(
        body=body, headers=headers, status=200, attachments={"file": FILE}
    )


def seen(progress: Progress) -> object:
    """All that steps to come can see of those before."""
    return (
        [
            (one.next_step, one.made_by, _content(one.message))
            for one in progress.waiting
        ],
        progress.first.run.steps,
        progress.result,
        progress.filtered_by,
        progress.attempts,
    )


def _content(one: Message) -> object:
    return one.body, dict(one.headers), one.status, one.item, dict(one.attachments)


bodies = st.one_of(
    st.none(), st.integers(), st.text(), st.dictionaries(st.text(), st.floats(0, 1))
)
runs = st.tuples(st.lists(bodies, max_size=3), st.booleans(), st.booleans())


@given(st.lists(runs, max_size=40))
async def test_a_resumed_execution_stands_where_the_last_record_has_it(
    steps: list[tuple[list[Value], bool, bool]],
) -> None:
    """Messages, `steps.<id>`, results: with any steps making none, one or many."""
    running = Running()
    for made, pass_on, is_recorded in steps:
        if not running.progress.waiting:
            break
        running.step(made, pass_on=pass_on)
        if is_recorded:
            await running.record()
            assert seen(running.resumed()) == seen(running.progress)


@given(st.lists(runs, min_size=1, max_size=20), st.lists(runs, max_size=20))
async def test_records_go_on_after_a_resumption(
    before: list[tuple[list[Value], bool, bool]],
    after: list[tuple[list[Value], bool, bool]],
) -> None:
    """What a new owner writes continues what the one before it wrote."""
    running = Running()
    for made, pass_on, _ in before:
        if running.progress.waiting:
            running.step(made, pass_on=pass_on)
    await running.record()
    running.progress = running.resumed()
    for made, pass_on, is_recorded in after:
        if not running.progress.waiting:
            break
        running.step(made, pass_on=pass_on)
        if is_recorded:
            await running.record()
            assert seen(running.resumed()) == seen(running.progress)


async def test_what_is_the_events_own_is_not_written_again() -> None:
    """A record of a message that was passed on names body, headers and files."""
    running = Running(Progress.begin(message("x" * 5000, attachments={"file": FILE})))
    running.step([], pass_on=True)
    await running.record()

    assert running.known is not None
    assert running.known.ByteSize() < 100


def test_each_of_many_messages_has_an_idempotency_key_of_its_own() -> None:
    """Also where one of many is made many again; it follows from their places."""
    running = Running()
    running.step([1, 2], pass_on=False)
    running.step([3, 4], pass_on=False)

    items = [waiting.message.item for waiting in running.progress.waiting]
    assert items == ["2", "1.2", "1.1"]
