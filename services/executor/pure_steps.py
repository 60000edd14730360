"""The pure steps that a flow begins with: nothing of them has to be known to anybody.

They are run as they come, without a record and without what records need; where one
makes many messages or does not succeed, it is left, and run again by the execution.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hookline.components import Effect
from hookline.components.steps import BoundStep
from hookline.errors import StepError, TerminalError, Unavailable
from hookline.event import Message
from hookline.template import Template
from services.executor.attempts import run_component
from services.executor.failure import StepFailed
from services.executor.progress import seen
from services.executor.tenure import Tenure


class Reached(NamedTuple):
    """How far the first message has come: the step that is next, and those behind it.

    `message` is None where the last of them has let nothing pass.
    """

    next_step: int
    passed: Sequence[str]
    message: Message | None


async def run_pure(
    steps: Sequence[BoundStep], first: Message, tenure: Tenure
) -> Reached:
    """Take an event's first message through the steps before any that has effects."""
    index, passed, message = 0, [], first
    try:
        while (index := next_applying(steps, index, message)) < len(steps):
            step = steps[index]
            if step.component.effect is not Effect.PURE or not tenure.holds():
                break
            out = await run_component(step, message.derive(step_id=step.id))
            if len(out) > 1:
                break
            index += 1
            passed.append(step.id)
            if not out:
                return Reached(index, passed, None)
            message = out[0]
            first.run.steps[step.id] = seen(message)
    except (StepError, StepFailed, Unavailable, TimeoutError):
        pass  # the execution runs it again, counts its attempts and knows what to do
    return Reached(index, passed, message)


def next_applying(steps: Sequence[BoundStep], index: int, message: Message) -> int:
    """The first step from an index on whose condition holds; their number where none is.

    Raises StepFailed where a condition cannot be evaluated.
    """
    while index < len(steps):
        step = steps[index]
        if step.when is None or _holds(step.id, step.when, message):
            break
        index += 1
    return index


def _holds(step_id: str, when: Template, message: Message) -> bool:
    try:
        return when.truth(message)
    except TerminalError as error:
        raise StepFailed(step_id, 0, error) from error
