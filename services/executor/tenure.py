"""How long an executor may run the steps of a partition: asked before each of them."""

import asyncio
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 0.1


class Tenure:
    """The time between getting a partition and giving it away.

    It may be in doubt for a while (the group has not answered); then nothing starts.
    """

    def __init__(self, owned: Callable[[], bool] = lambda: True) -> None:
        self._owned = owned
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing more may start."""
        return self._ended.is_set()

    def end(self) -> None:
        """Start nothing more; what waits for its next attempt is let go at once."""
        self._ended.set()

    def holds(self) -> bool:
        """Whether a step may start now."""
        return not self._ended.is_set() and self._owned()

    async def wait_ended(self) -> None:
        """Return when nothing more may start."""
        await self._ended.wait()

    async def wait_held(self) -> None:
        """Return when a step may start.

        Raises CancelledError at the end: the execution is let go, unfinished. The commit
        stays before its event, so it runs again, here or where the partition goes.
        """
        while not self.holds():
            await self.wait(LOOK_S)

    async def wait(self, seconds: float) -> None:
        """Wait for so long. Raises CancelledError where the tenure ends before."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return
        raise asyncio.CancelledError
