"""Waiting for something to be the case, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_S = 0.01


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when it is the case; ask again and again, for so many seconds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells when it changes
            await asyncio.sleep(LOOK_S)


async def until_asked(
    condition: Callable[[], Awaitable[bool]], seconds: float = 30.0
) -> None:
    """The same, where asking takes an answer from somewhere else."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOK_S)
