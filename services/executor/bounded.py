"""Goes on with a component's coroutine so that it ends, whatever it does.

Where its time is over, or it is cut off, it gets an exception, as whatever is awaited
does. One that waits on all the same is closed some seconds later, and never runs again.
What does not wait for anything costs no time limit; what never comes back from a
computation of its own can be stopped by nobody, and is not meant here.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

GRACE_S: Final = 2.0
Made = TypeVar("Made")


class Bounded(Generic[Made]):
    """The rest of a coroutine that waits for something, with a time limit.

    Raises TimeoutError where its time is over, and what the coroutine raises.
    """

    __slots__ = (
        *("_cancelling", "_closes", "_coroutine", "_grace_s"),
        *("_limit_s", "_ours", "_task", "_timer", "_waits_for"),
    )

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Made],
        waits_for: Any,
        limit_s: float,
        grace_s: float = GRACE_S,
    ) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for
        self._limit_s = limit_s
        self._grace_s = grace_s
        self._closes = False
        # Cancellations of the task that are ours, and are taken back.
        self._ours = 0
        self._cancelling = 0

    def __await__(self) -> Generator[Any, Any, Made]:
        """Go on with it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is awaited in one
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        loop = task.get_loop()
        self._timer = loop.call_later(self._limit_s, self._cancel)
        is_over = False
        try:
            return (yield from self._drive())
        except asyncio.CancelledError:
            is_over = self._ours > 0
            raise
        finally:
            self._timer.cancel()
            if self._take_back() and is_over:
                raise TimeoutError

    def _drive(self) -> Generator[Any, Any, Made]:
        coroutine = self._coroutine
        while True:
            thrown: BaseException | None = None
            try:
                yield self._waits_for
            except BaseException as error:
                if self._closes or isinstance(error, GeneratorExit):
                    with suppress(Exception):  # it goes on waiting: enough
                        coroutine.close()
                    raise
                if isinstance(error, asyncio.CancelledError):
                    self._give_grace()
                thrown = error
            try:
                if thrown is None:
                    self._waits_for = coroutine.send(None)
                else:
                    self._waits_for = coroutine.throw(thrown)
            except StopIteration as done:
                made: Made = done.value
                return made

    def _cancel(self) -> None:
        self._ours += 1
        self._task.cancel()

    def _give_grace(self) -> None:
        self._timer.cancel()
        loop = self._task.get_loop()
        self._timer = loop.call_later(self._grace_s, self._close)

    def _close(self) -> None:
        self._closes = True
        self._cancel()

    def _take_back(self) -> bool:
        """Whether nobody else has cancelled the task meanwhile."""
        for _ in range(self._ours):
            self._task.uncancel()
        self._ours = 0
        return self._task.cancelling() == self._cancelling
