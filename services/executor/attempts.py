"""Attempts of one step: time limit, back-off, and when to give up."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hookline.components import Effect
from hookline.components.steps import BoundStep
from hookline.errors import MissingSecret, RetryableError, TerminalError, Unavailable
from hookline.event import Message
from hookline.flow import Retry
from hookline.metrics import Metrics
from hookline.telemetry import get_logger
from services.executor.failure import StepFailed
from services.executor.tenure import Tenure

STORE_AGAIN_S = 2.0
logger = get_logger(__name__)


def delay_s(retry: Retry, attempt: int, error: RetryableError) -> float:
    """Seconds to wait after a failed attempt (the first is 1), at least what was asked."""
    grown = retry.initial_interval * retry.backoff_coefficient ** min(attempt - 1, 60)
    return max(min(grown, retry.maximum_interval), error.retry_after_s or 0.0)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Runs steps until they succeed or have failed for good."""

    metrics: Metrics

    async def run(
        self, step: BoundStep, message: Message, tenure: Tenure
    ) -> tuple[Sequence[Message], int]:
        """The messages a step gives, and the number of attempts. Raises StepFailed.

        Raises CancelledError where the tenure ends first.
        """
        attempt = 1
        while True:
            if not tenure.holds():
                await tenure.wait_held()
            try:
                return await _attempt(step, message), attempt
            except Unavailable as error:
                # The body store's, whose absence is no fault of the step: it is not
                # counted, and no dead letter comes of it.
                self._log_failure(step, message, attempt, error)
                await tenure.wait(STORE_AGAIN_S)
                continue
            except RetryableError as error:
                failed: RetryableError = error
            except TerminalError as error:
                self._log_failure(step, message, attempt, error)
                raise StepFailed(step.id, attempt, error) from error
            self._log_failure(step, message, attempt, failed)
            if attempt >= step.retry.maximum_attempts:
                last = TerminalError(f"{failed} (attempt {attempt}, the last)")
                raise StepFailed(step.id, attempt, last) from failed
            await tenure.wait(delay_s(step.retry, attempt, failed))
            attempt += 1

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


async def _attempt(step: BoundStep, message: Message) -> Sequence[Message]:
    """One attempt. Raises RetryableError, TerminalError or Unavailable, nothing else."""
    component = step.component
    if component.effect is Effect.PURE:
        return await _run(step, message)
    try:
        async with asyncio.timeout(step.timeout_s):
            return await _run(step, message)
    except TimeoutError as error:
        text = f"the step took longer than its timeout of {step.timeout_s:g} s"
        if component.effect is Effect.ONCE:
            raise TerminalError(text, indeterminate=True) from error
        raise RetryableError(text) from error


async def _run(step: BoundStep, message: Message) -> Sequence[Message]:
    try:
        return await step.component.run(message)
    except (RetryableError, TerminalError, Unavailable, TimeoutError):
        raise
    except MissingSecret as error:
        raise RetryableError(str(error)) from error
    except Exception as error:
        # A component's fault must not take the lane, or the process, with it.
        text = f"the component failed: {type(error).__name__}: {error}"
        raise TerminalError(text) from error
