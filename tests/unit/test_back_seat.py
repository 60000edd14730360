"""Refused senders take the back seat: others are answered before them."""

import asyncio

from hookline.v1 import event_pb2
from services.ingress.back_seat import FOR_ONE, BackSeat

LONG_S = 60.0


WRONG = event_pb2.REASON_UNAUTHENTICATED
OFTEN = event_pb2.REASON_TOO_MANY_REQUESTS


async def answered(seat: BackSeat, reason: int, done: list[int]) -> None:
    await seat.wait(reason)
    done.append(1)


async def turns(count: int = 5) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_is_refused_for_every_few_that_are_accepted() -> None:
    """A flood makes way for those who are accepted beside it."""
    seat, done = BackSeat(LONG_S), list[int]()
    seat.make_way()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(answered(seat, WRONG, done))
        await turns()
        counts = [len(done)]
        for _ in range(3 * FOR_ONE):
            seat.make_way()
            await turns()
            counts.append(len(done))

    assert counts == [at // FOR_ONE for at in range(3 * FOR_ONE + 1)]


async def test_nobody_waits_for_longer_than_a_moment() -> None:
    """Also where hardly anybody is accepted."""
    seat, done = BackSeat(0.01), list[int]()
    seat.make_way()
    async with asyncio.timeout(10):
        await asyncio.gather(*(answered(seat, WRONG, done) for _ in range(100)))

    assert len(done) == 100


async def test_refusals_of_another_kind_never_wait() -> None:
    """Their senders are not to be blamed for a flood."""
    seat, done = BackSeat(LONG_S), list[int]()
    seat.make_way()
    async with asyncio.TaskGroup() as tasks:
        flood = tasks.create_task(answered(seat, OFTEN, list[int]()))
        await turns()
        seat.make_way()
        await answered(seat, event_pb2.REASON_TOO_LARGE, done)

        assert (len(done), flood.done()) == (1, False)
        flood.cancel()


async def test_a_flood_alone_is_answered_together() -> None:
    """In the next turn, all of it: there is nobody to make way for."""
    seat, done = BackSeat(LONG_S), list[int]()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(answered(seat, WRONG, done))
        await turns()

        assert len(done) == 10


async def test_a_sender_that_leaves_keeps_nobody_waiting() -> None:
    seat, done = BackSeat(0.01), list[int]()
    seat.make_way()
    async with asyncio.TaskGroup() as tasks:
        each = [tasks.create_task(answered(seat, WRONG, done)) for _ in range(5)]
        await turns()
        each[-2].cancel()

    assert len(done) == 4
