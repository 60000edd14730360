"""Attempts of one step: time limit, back-off, and when to give up.

A failed attempt is in the journal before the next one starts, with its number and when
that one is due; so is the start of a step that is not repeatable, before it starts. While
such a step waits for the body store no start of it is in the journal.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol, cast

from hookline.components import Effect
from hookline.components.steps import BoundStep
from hookline.errors import MissingSecret, RetryableError, TerminalError, Unavailable
from hookline.event import InMemory, Message
from hookline.flow import Retry
from hookline.metrics import Metrics
from hookline.telemetry import get_logger
from services.executor.bounded import Bounded
from services.executor.failure import Rests, StepFailed
from services.executor.gate import Gate
from services.executor.tenure import Tenure

JITTER: Final = 0.1
LONG_S: Final = 1.0
MICROSECONDS: Final = 1_000_000
STORE_AGAIN_S: Final = 2.0
logger = get_logger(__name__)


class Tries(Protocol):
    """The journal, as one step's attempts see it."""

    def due(self, step_id: str) -> tuple[int, int]:
        """The attempt to begin with, and when it is due, in microseconds since 1970."""
        ...

    async def start(self, step_id: str, attempt: int) -> None:
        """A step that is not repeatable is about to start."""
        ...

    async def fail(
        self, step_id: str, attempt: int, next_at_us: int, error: str
    ) -> None:
        """An attempt has failed and another one is due."""
        ...

    def check(self) -> None:
        """An attempt is about to start. Raises Stopped where none may."""
        ...


def delay_s(retry: Retry, attempt: int, error: RetryableError) -> float:
    """Seconds to wait after a failed attempt (the first is 1), at least what was asked."""
    grown = retry.initial_interval * retry.backoff_coefficient ** min(attempt - 1, 60)
    return max(min(grown, retry.maximum_interval), error.retry_after_s or 0.0)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Runs steps until they succeed or have failed for good."""

    metrics: Metrics
    random: Random = field(default_factory=Random)
    gate: Gate = field(default_factory=Gate)

    async def run(
        self, step: BoundStep, message: Message, tenure: Tenure, tries: Tries
    ) -> tuple[Sequence[Message], int]:
        """The messages a step gives, and the number of attempts. Raises StepFailed.

        Raises Rests where an attempt is due much later, the flow is not to start one now,
        or the body store does not answer: then the journal has what there is to know.
        Raises Discarded where it never is, CancelledError where the tenure ends first.
        """
        attempt, due_at_us = tries.due(step.id)
        once = step.component.effect is Effect.ONCE
        if due_at_us:
            await _wait_until(due_at_us, tenure)
        while True:
            tries.check()
            try:
                if not tenure.holds():
                    await tenure.wait_held()
                self._pass_gate(message)
                if once:
                    await self._reach_contents(step, message, attempt)
                    await tenure.wait_held()
                    self._pass_gate(message)
                    tries.check()
                    await tries.start(step.id, attempt)
                return await _attempt(step, message), attempt
            except Unavailable as error:
                # The body store's, whose absence is no fault of the step: it is not
                # counted, and no dead letter comes of it.
                self._log_failure(step, message, attempt, error)
                if once:
                    # Its start is taken back, so that a crash finds none.
                    await tries.fail(step.id, attempt - 1, 0, str(error))
                raise Rests.seconds(STORE_AGAIN_S) from error
            except RetryableError as error:
                failed: RetryableError = error
            except TerminalError as error:
                self._log_failure(step, message, attempt, error)
                raise StepFailed(step.id, attempt, error) from error
            self._log_failure(step, message, attempt, failed)
            if attempt >= step.retry.maximum_attempts:
                last = TerminalError(f"{failed} (attempt {attempt}, the last)")
                raise StepFailed(step.id, attempt, last) from failed
            due_at_us = self._due_at_us(step.retry, attempt, failed)
            await tries.fail(step.id, attempt, due_at_us, str(failed))
            await _wait_until(due_at_us, tenure)
            attempt += 1

    def _pass_gate(self, message: Message) -> None:
        self.gate.pass_through(message.run.flow_id, message.run.flow_version)

    async def _reach_contents(
        self, step: BoundStep, message: Message, attempt: int
    ) -> None:
        """Return when a message's files can be read and the step may start.

        Raises Rests while the body store does not answer, TerminalError where they never
        can be read.
        """
        try:
            await _read_beginnings(message)
        except Unavailable as error:
            self._log_failure(step, message, attempt, error)
            raise Rests.seconds(STORE_AGAIN_S) from error

    def _due_at_us(self, retry: Retry, attempt: int, error: RetryableError) -> int:
        """When the next attempt is due; a tenth of chance, so that not all come at once."""
        spread = 1 + JITTER * self.random.random()
        wait_s = delay_s(retry, attempt, error) * spread
        return time.time_ns() // 1000 + int(wait_s * MICROSECONDS)

    def _log_failure(
        self, step: BoundStep, message: Message, attempt: int, error: Exception
    ) -> None:
        self.metrics.attempts_failed.inc()
        logger.warning(
            "attempt.failed",
            event_id=message.run.event_id,
            flow_id=message.run.flow_id,
            step=step.id,
            attempt=attempt,
            of=step.retry.maximum_attempts,
            retryable=not isinstance(error, TerminalError),
            error=str(error),
        )


async def _wait_until(due_at_us: int, tenure: Tenure) -> None:
    """Wait, or leave the execution until then where that is long. Raises Rests."""
    wait_s = (due_at_us - time.time_ns() // 1000) / MICROSECONDS
    if wait_s > LONG_S:
        raise Rests(due_at_us)
    if wait_s > 0:
        await tenure.wait(wait_s)


async def _read_beginnings(message: Message) -> None:
    """Read where its files and its body begin. Raises Unavailable, TerminalError."""
    files = [one.content for one in message.attachments.values()]
    for content in (message.run.trigger.raw_body, *files):
        if isinstance(content, InMemory):
            continue
        async for _ in content.read():
            break


async def _attempt(step: BoundStep, message: Message) -> Sequence[Message]:
    """One attempt. Raises RetryableError, TerminalError or Unavailable, nothing else."""
    try:
        return await run_component(step, message)
    except TimeoutError as error:
        text = f"the step took longer than its timeout of {step.timeout_s:g} s"
        if step.component.effect is Effect.ONCE:
            raise TerminalError(text, indeterminate=True) from error
        raise RetryableError(text) from error


async def run_component(step: BoundStep, message: Message) -> Sequence[Message]:
    """A step once, within its time limit. Raises StepError, Unavailable, TimeoutError.

    And CancelledError, but only where the task that runs it was cancelled.
    """
    task: asyncio.Task[object] | None = None
    before = 0
    try:
        coroutine = step.component.run(message)
        try:
            waits_for = coroutine.send(None)
        except StopIteration as done:
            return cast("Sequence[Message]", done.value)
        if task := asyncio.current_task():
            before = task.cancelling()
        return await Bounded(coroutine, waits_for, step.timeout_s)
    except (RetryableError, TerminalError, Unavailable, TimeoutError):
        raise
    except MissingSecret as error:
        raise RetryableError(str(error)) from error
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling() > before:
            raise
        # What it waited for was cancelled, by nobody here: nothing may end the lane.
        once = step.component.effect is Effect.ONCE
        text = "the component failed: what it waited for was cancelled"
        raise TerminalError(text, indeterminate=once) from error
    except Exception as error:
        # A component's fault must not take the lane, or the process, with it.
        text = f"the component failed: {type(error).__name__}: {error}"
        raise TerminalError(text) from error
