"""What an execution has come to: messages that wait for their next step, and what is new.

A pure state machine. What is left to do is a stack of messages, each with the step it
goes to next; the execution goes on with the last. What the journal is told is how the
stack has changed since it was told last, so that a new owner goes on behind the last step
that was written down, with the same messages and the same `steps.<id>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import msgspec

from hookline.event import Message, Value
from hookline.v1 import execution_pb2
from services.executor import step_messages

RESULT_LIMIT_BYTES: Final = 1024
Steps = dict[str, Value]


class Waiting(NamedTuple):
    """A message, the index of the step it goes to next, and the step that made it."""

    next_step: int
    made_by: str
    message: Message


@dataclass(slots=True)
class Progress:
    """Where the messages of one execution are.

    `kept` of the lowest are as the journal has them; `passed` are the steps whose
    messages have come and gone since, with nothing of them in the journal.
    """

    first: Message
    waiting: list[Waiting]
    attempts: int = 0
    results: list[bytes] = field(default_factory=list)
    filtered_by: str = ""
    kept: int = 0
    passed: set[str] = field(default_factory=set)
    results_kept: int = 0

    @classmethod
    def begin(cls, first: Message) -> Self:
        """Before the first step."""
        return cls(first, [Waiting(0, "", first)])

    @classmethod
    def resume(cls, first: Message, known: execution_pb2.ExecutionProgress) -> Self:
        """Where the journal says that it stands."""
        progress = cls.begin(first)
        progress.attempts = known.attempts
        if known.HasField("moved"):
            progress.go_to(known.moved)
        return progress

    def go_past(self, next_step: int, passed: Sequence[str], message: Message) -> None:
        """Take the place behind pure steps that were run already."""
        self.waiting = [Waiting(next_step, passed[-1] if passed else "", message)]
        self.passed.update(passed[:-1])
        self.attempts = len(passed)

    def go_to(self, moved: execution_pb2.MessagesMoved) -> None:
        """Take the place that all records together tell."""
        first = self.first
        self.waiting = [
            Waiting(
                one.next_step, one.made_by, step_messages.restore(one.message, first)
            )
            for one in moved.waiting
        ]
        self.results = list(moved.results)
        self.filtered_by = moved.filtered_by
        for step_id, message in moved.steps.items():
            first.run.steps[step_id] = seen(step_messages.restore(message, first))
        self.told()

    def next(self) -> Waiting:
        """The message to go on with; expressions see it as that of its step from now on."""
        waiting = self.waiting[-1]
        if waiting.made_by:
            self.first.run.steps[waiting.made_by] = seen(waiting.message)
        return waiting

    def step_done(
        self, step_id: str, next_step: int, out: Sequence[Message], attempts: int
    ) -> None:
        """The message to go on with has become these, which go to a step one by one."""
        message = self._leave().message
        self.attempts += attempts
        if not out:
            self.filtered_by = step_id
        elif len(out) == 1:
            self.waiting.append(Waiting(next_step, step_id, out[0]))
        else:
            prefix = f"{message.item}." if message.item else ""
            for number in range(len(out), 0, -1):
                one = out[number - 1].derive(item=f"{prefix}{number}")
                self.waiting.append(Waiting(next_step, step_id, one))

    def passed_last(self) -> None:
        """The message to go on with has no step left."""
        body = self._leave().message.body
        if sum(map(len, self.results)) < RESULT_LIMIT_BYTES:
            self.results.append(shown(body))

    def _leave(self) -> Waiting:
        left = self.waiting.pop()
        if len(self.waiting) < self.kept:
            self.kept = len(self.waiting)
        elif left.made_by:
            self.passed.add(left.made_by)
        return left

    def goes_on(self, steps: int) -> bool:
        """Whether any message has a step before it."""
        return any(one.next_step < steps for one in self.waiting)

    async def moved(self) -> execution_pb2.MessagesMoved:
        """What the journal does not know yet. Raises what `step_messages.keep` raises."""
        moved = execution_pb2.MessagesMoved(
            kept=self.kept, filtered_by=self.filtered_by
        )
        for waiting in self.waiting[self.kept :]:
            moved.waiting.add(
                next_step=waiting.next_step,
                made_by=waiting.made_by,
                message=await step_messages.keep(waiting.message, self.first),
            )
        for step_id in sorted(self.passed):
            value = self.first.run.steps[step_id]
            moved.steps[step_id].CopyFrom(
                await step_messages.keep(_unseen(value, self.first), self.first)
            )
        moved.results.extend(self.results[self.results_kept :])
        return moved

    @property
    def result(self) -> bytes:
        """What is left in the end, as far as an end shows it."""
        if len(self.results) == 1:
            return self.results[0]
        if not self.results:
            return b""
        return (b"[%s]" % b",".join(self.results))[:RESULT_LIMIT_BYTES]

    def told(self) -> None:
        """The journal has what `moved` gave."""
        self.kept = len(self.waiting)
        self.passed.clear()
        self.results_kept = len(self.results)


def merge(
    known: execution_pb2.ExecutionProgress | None,
    change: execution_pb2.ExecutionProgress,
) -> execution_pb2.ExecutionProgress:
    """All that an execution's records say, from what they said before and the next one.

    Where something is known it is changed in its place: what is left of many messages is
    not copied for each of them.
    """
    if known is None:
        known = execution_pb2.ExecutionProgress()
    known.number, known.attempts = change.number, change.attempts
    known.started_at_us = change.started_at_us
    for doing in ("started", "failed", "held"):
        known.ClearField(doing)
        if change.HasField(doing):
            getattr(known, doing).CopyFrom(getattr(change, doing))
    for lasting in ("decided", "edited", "failing"):
        if change.HasField(lasting):
            getattr(known, lasting).CopyFrom(getattr(change, lasting))
            if lasting != "decided":
                known.ClearField("moved")  # other steps, or the same ones anew
    if change.HasField("moved"):
        _move(known.moved, change.moved)
    return known


def _move(
    known: execution_pb2.MessagesMoved, change: execution_pb2.MessagesMoved
) -> None:
    known.SetInParent()
    for left in reversed(known.waiting[change.kept :]):
        if left.made_by:
            known.steps[left.made_by].CopyFrom(left.message)
    del known.waiting[change.kept :]
    known.waiting.extend(change.waiting)
    for step_id, message in change.steps.items():
        known.steps[step_id].CopyFrom(message)
    known.results.extend(change.results)
    known.filtered_by = change.filtered_by


def seen(message: Message) -> Value:
    """A message as expressions see it at `steps.<id>`."""
    return {
        "body": message.body,
        "headers": message.headers,
        "status": message.status,
    }


def _unseen(value: Value, first: Message) -> Message:
    return first.derive(
        body=value["body"],
        headers=value["headers"],
        status=value["status"],
        attachments={},
    )


def shown(body: Value) -> bytes:
    """A body as JSON, as far as an end shows it."""
    try:
        return msgspec.json.encode(body)[:RESULT_LIMIT_BYTES]
    except step_messages.UNKEEPABLE:
        return b'"(a value that JSON cannot hold)"'
