"""Waiting for something to be the case, with a deadline."""

import asyncio
from collections.abc import Callable

LOOK_S = 0.01


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when it is the case; ask again and again, for so many seconds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells when it changes
            await asyncio.sleep(LOOK_S)
