"""Attempts: how often, when, and how they go on when another executor takes over."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.components import Effect, Parameters
from hookline.components.steps import BoundStep
from hookline.errors import RetryableError, Unavailable
from hookline.event import Attachment, Message
from hookline.flow import Retry
from hookline.metrics import Metrics
from services.executor.attempts import JITTER, Attempts, delay_s
from services.executor.failure import Rests, StepFailed
from services.executor.tenure import Tenure
from tests.builders import message

METRICS = Metrics(router=None, executor=None)
NoParameters = Parameters
retries = st.builds(
    Retry,
    maximum_attempts=st.integers(1, 8),
    initial_interval=st.floats(0.001, 100),
    backoff_coefficient=st.floats(1, 10),
    maximum_interval=st.floats(0.001, 1000),
)


class Crash(BaseException):
    """The executor ends here."""


@dataclass(slots=True)
class Failing:
    """A step that does not succeed."""

    Parameters: ClassVar = NoParameters
    effect: ClassVar = Effect.ONCE
    retry_after_s: float | None = None
    runs: int = 0
    crashes_in: frozenset[int] = frozenset()

    async def run(self, _: Message) -> Sequence[Message]:
        """Fail, or crash in the middle."""
        self.runs += 1
        if self.runs in self.crashes_in:
            raise Crash
        raise RetryableError("it is busy", self.retry_after_s)


@dataclass(slots=True)
class Written:
    """A journal that outlives executors."""

    failed: list[tuple[int, int]] = field(default_factory=list)
    started: list[int] = field(default_factory=list)

    def due(self, step_id: str) -> tuple[int, int]:
        assert step_id == "step"
        return (self.failed[-1][0] + 1, 0) if self.failed else (1, 0)

    def check(self) -> None:
        """Nobody stops it."""

    async def start(self, _: str, attempt: int) -> None:
        self.started.append(attempt)

    async def fail(self, _: str, attempt: int, next_at_us: int, error: str) -> None:
        assert error == "it is busy"
        self.failed.append((attempt, next_at_us))


def step(component: Any, retry: Retry) -> BoundStep:
    return BoundStep("step", component, None, 60.0, retry)


@given(retries, st.integers(1, 100), st.none() | st.floats(0, 1e5))
def test_a_delay_grows_up_to_its_limit_and_is_never_less_than_was_asked(
    retry: Retry, attempt: int, asked_s: float | None
) -> None:
    """`Retry-After` counts where it is longer."""
    error = RetryableError("", asked_s)
    wait_s = delay_s(retry, attempt, error)

    assert wait_s >= (asked_s or 0)
    assert wait_s <= max(retry.maximum_interval, asked_s or 0)
    assert delay_s(retry, attempt + 1, error) >= wait_s


@given(retries, st.frozensets(st.integers(1, 12), max_size=6), st.randoms())
@settings(max_examples=200)
def test_attempts_are_counted_on_through_crashes(
    retry: Retry, crashes: frozenset[int], random: Random
) -> None:
    """Each has its number; a crash in one repeats that one; the last is the last."""
    retry = retry.model_copy(
        update={"initial_interval": 1e-6, "maximum_interval": 1e-6}
    )
    failing, written = Failing(crashes_in=crashes), Written()

    async def run_until_failed() -> StepFailed:
        attempts = Attempts(METRICS, random)
        while True:
            try:
                await attempts.run(step(failing, retry), message(), Tenure(), written)
            except Crash:
                continue
            except StepFailed as failure:
                return failure

    failure = asyncio.run(run_until_failed())

    assert failure.attempts == retry.maximum_attempts
    assert [number for number, _ in written.failed] == list(range(1, failure.attempts))
    assert failing.runs == failure.attempts + len(
        [crash for crash in crashes if crash <= failing.runs]
    )
    # Of a step that is not repeatable, each start is written before it runs.
    assert len(written.started) == failing.runs
    assert written.started == sorted(written.started)


@pytest.mark.parametrize("asked_s", [None, 5.0])
async def test_when_the_next_attempt_is_due_is_spread_and_written_down(
    asked_s: float | None,
) -> None:
    """At least the delay, at most a tenth more; so not all that failed come at once."""
    retry = Retry(maximum_attempts=2, initial_interval=2.0)
    due_s = []
    for seed in range(20):
        written, tenure = Written(), Tenure()
        attempts = Attempts(METRICS, Random(seed))  # noqa: S311 - spreads, hides nothing
        begun_us = time.time_ns() // 1000
        with pytest.raises(Rests):
            await attempts.run(
                step(Failing(retry_after_s=asked_s), retry), message(), tenure, written
            )
        ended_us = time.time_ns() // 1000
        delay_us = (asked_s or 2.0) * 1e6
        [(_, next_at_us)] = written.failed
        assert begun_us + delay_us <= next_at_us <= ended_us + delay_us * (1 + JITTER)
        due_s.append(next_at_us - begun_us)

    assert len(set(due_s)) > 10


async def test_an_attempt_that_is_not_due_starts_nothing() -> None:
    """What another executor has left rests for what is left of its time."""
    due_at_us = time.time_ns() // 1000 + 3_600_000_000

    class Later(Written):
        def due(self, _: str) -> tuple[int, int]:
            return 3, due_at_us

    failing = Failing()
    with pytest.raises(Rests) as rests:
        await Attempts(METRICS).run(
            step(failing, Retry()), message(), Tenure(), Later()
        )

    assert rests.value.due_at_us == due_at_us
    assert failing.runs == 0


@dataclass
class Away:
    """Content in a body store that does not answer."""

    reads: int = 0
    size: int = 1
    sha256: str = ""

    async def read(self) -> AsyncIterator[bytes]:
        """Count, and raise Unavailable."""
        yield await self.whole(1)

    async def whole(self, limit: int) -> bytes:
        """The same."""
        self.reads += 1
        raise Unavailable(f"the store does not answer for {limit} bytes")


async def test_a_step_that_waits_for_the_body_store_has_not_started() -> None:
    """A crash meanwhile leaves nothing whose end is unknown."""
    failing, written, tenure, away = Failing(), Written(), Tenure(), Away()
    got = message(attachments={"file": Attachment("text/plain", away)})
    with pytest.raises(Rests):
        await Attempts(METRICS).run(step(failing, Retry()), got, tenure, written)

    assert (away.reads, written.started, failing.runs) == (1, [], 0)
    assert not written.failed


async def test_a_start_is_taken_back_when_the_body_store_fails_after_it() -> None:
    """The journal says that the same attempt is to be made, and nothing of a start."""

    class Missing(Failing):
        async def run(self, _: Message) -> Sequence[Message]:
            self.runs += 1
            raise Unavailable("it is busy")

    missing, written, tenure = Missing(), Written(), Tenure()
    with pytest.raises(Rests):
        await Attempts(METRICS).run(step(missing, Retry()), message(), tenure, written)

    assert (written.started, missing.runs) == ([1], 1)
    assert written.due("step") == (1, 0)


@pytest.mark.parametrize("effect", [Effect.REPEATABLE, Effect.ONCE])
async def test_a_component_whose_wait_is_cancelled_by_nobody_has_failed(
    effect: Effect,
) -> None:
    """It takes no lane with it; of one that is not repeatable the end is unknown."""

    class Cancelled:
        async def run(self, _: Message) -> Sequence[Message]:
            waits: asyncio.Future[Sequence[Message]] = asyncio.Future()
            asyncio.get_running_loop().call_soon(waits.cancel)
            return await waits

    component: Any = Cancelled()
    component.effect = effect
    with pytest.raises(StepFailed) as failed:
        await Attempts(METRICS).run(
            step(component, Retry()), message(), Tenure(), Written()
        )

    assert failed.value.indeterminate is (effect is Effect.ONCE)
