"""How many bytes of stored bodies executions have in hand."""

import asyncio
from functools import partial

from services.executor.room import Room
from services.executor.tenure import Tenure
from tests.waiting import until


async def test_whoever_comes_first_is_first() -> None:
    """A small one does not overtake a large one that waits for room."""
    room = Room(100)
    order: list[int] = []

    async def take(size: int, done: asyncio.Event) -> None:
        with room.share() as share:
            await share.take(size, Tenure())
            order.append(size)
            await done.wait()

    done = [asyncio.Event() for _ in range(4)]

    def waits(count: int) -> bool:
        return len(room.waiting) == count

    async with asyncio.TaskGroup() as tasks:
        for size, one in zip((60, 90, 30, 1000), done, strict=True):
            tasks.create_task(take(size, one))
        await until(lambda: len(room.waiting) == 3)
        assert (order, room.taken) == ([60], 60)
        for one in done:
            left = max(len(room.waiting) - 1, 0)
            one.set()
            await until(partial(waits, left))
            assert room.taken <= 100

    assert order == [60, 90, 30, 1000]
    assert (room.taken, len(room.waiting)) == (0, 0)


async def test_who_is_let_go_waits_no_more() -> None:
    """Those behind it are next."""
    room, tenure = Room(100), Tenure()
    with room.share() as first, room.share() as second, room.share() as third:
        await first.take(100, tenure)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(second.take(1, tenure))
            await until(lambda: len(room.waiting) == 1)
            tenure.end()
        assert waiting.cancelled()
        first.give_back()
        await third.take(100, Tenure())

    assert (room.taken, len(room.waiting)) == (0, 0)
