"""A component ends when its time is over, or it is cut off, whatever it does."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from services.executor.bounded import Bounded

SHORT_S = 0.01
LONG_S = 600.0
# A coroutine that will not be closed says so once more when it is thrown away.
STUBBORN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Component:
    """What a step may do, and what has come of it."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.over = asyncio.Event()

    async def end(self) -> int:
        """Wait a little, and give something."""
        await asyncio.sleep(0)
        return 7

    async def fail(self) -> int:
        await asyncio.sleep(0)
        raise LookupError

    async def hang(self) -> int:
        """Wait for ever."""
        try:
            await self.over.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return 1

    async def clean_up(self) -> int:
        """Wait for ever, and for something when that is over."""
        try:
            await self.over.wait()
        finally:
            await asyncio.sleep(0)
            self.cancelled += 1
        return 1

    async def end_all_the_same(self) -> int:
        """Take no notice of what it is told, and end."""
        try:
            await self.over.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
        await asyncio.sleep(0)
        return 8

    async def go_on(self) -> int:
        """Take no notice, ever."""
        while True:
            try:
                await self.over.wait()
            except asyncio.CancelledError:
                self.cancelled += 1

    async def go_on_whatever_comes(self) -> int:
        """Not even of being closed."""
        while True:
            try:
                await self.over.wait()
            except BaseException:  # noqa: BLE001 - that is how bad it is
                self.cancelled += 1


Run = Callable[[Component], Coroutine[Any, Any, int]]


async def bounded(coroutine: Coroutine[Any, Any, int], limit_s: float = LONG_S) -> int:
    """Run a coroutine that waits for something."""
    waits_for = coroutine.send(None)
    return await Bounded(coroutine, waits_for, limit_s, grace_s=SHORT_S)


async def outcome(awaited: Awaitable[int]) -> object:
    """What comes of it; and its task is as it was before."""
    task = asyncio.current_task()
    assert task is not None
    try:
        return await awaited
    except (TimeoutError, LookupError) as error:
        return type(error)
    finally:
        assert task.cancelling() == 0


@pytest.mark.parametrize("limit_s", [SHORT_S, LONG_S])
async def test_what_ends_in_time_is_as_if_it_were_awaited(limit_s: float) -> None:
    """What it gives, and what it raises."""
    assert await outcome(bounded(Component().end(), limit_s)) == 7
    assert await outcome(bounded(Component().fail(), limit_s)) is LookupError


@STUBBORN
@pytest.mark.parametrize(
    ("run", "came"),
    [
        (Component.hang, TimeoutError),
        (Component.clean_up, TimeoutError),
        (Component.end_all_the_same, 8),
        (Component.go_on, TimeoutError),
        (Component.go_on_whatever_comes, TimeoutError),
    ],
)
async def test_what_is_over_its_time_ends(run: Run, came: object) -> None:
    """It may clean up, or end; it may not go on."""
    component = Component()

    assert await outcome(bounded(run(component), SHORT_S)) == came
    assert component.cancelled >= 1


@STUBBORN
@pytest.mark.parametrize("run", [Component.hang, Component.clean_up, Component.go_on])
@pytest.mark.parametrize("limit_s", [SHORT_S, LONG_S])
async def test_what_is_cut_off_ends(run: Run, limit_s: float) -> None:
    """Whoever cancels the task is told so, also where time is over meanwhile."""
    component = Component()
    task = asyncio.ensure_future(bounded(run(component), limit_s))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert component.cancelled >= 1


async def test_a_limit_around_a_limit_holds() -> None:
    """The shorter one of the two counts."""
    component = Component()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await bounded(component.hang())
    assert component.cancelled == 1


@STUBBORN
async def test_what_is_closed_never_runs_again() -> None:
    """Also when what it waited for comes."""
    component = Component()
    with pytest.raises(TimeoutError):
        await bounded(component.go_on(), SHORT_S)
    told = component.cancelled
    component.over.set()
    await asyncio.sleep(0)

    assert component.cancelled == told
