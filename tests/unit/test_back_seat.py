"""Refused senders take the back seat: others are answered before them."""

import asyncio
from itertools import pairwise

from hookline.v1 import event_pb2
from services.ingress.back_seat import BackSeat


def refusal(reason: "event_pb2.Reason.ValueType") -> event_pb2.Outcome:
    return event_pb2.Outcome(rejected=event_pb2.Rejected(reason=reason))


WRONG = refusal(event_pb2.REASON_UNAUTHENTICATED)
OFTEN = refusal(event_pb2.REASON_TOO_MANY_REQUESTS)
ACCEPTED = event_pb2.Outcome(accepted=event_pb2.Accepted(event_id="1"))


async def answered(seat: BackSeat, outcome: event_pb2.Outcome, done: list[int]) -> None:
    await seat.wait(outcome)
    done.append(1)


async def test_only_a_few_refusals_are_answered_in_a_turn() -> None:
    """While others are accepted, a flood waits for its turns."""
    seat, done = BackSeat(a_turn=4), list[int]()
    await seat.wait(ACCEPTED)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(answered(seat, WRONG, done))
        begun = []
        while len(done) < 20:
            await asyncio.sleep(0)
            begun.append(len(done))
    steps = [after - before for before, after in pairwise(begun)]

    assert max(begun[0], *steps) <= 4


async def test_what_is_accepted_never_waits() -> None:
    """Nor do refusals for which others are not to be blamed."""
    seat, done = BackSeat(a_turn=1), list[int]()
    await seat.wait(ACCEPTED)
    too_large = refusal(event_pb2.REASON_TOO_LARGE)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(answered(seat, OFTEN, list[int]()))
        await asyncio.sleep(0)
        for outcome in (ACCEPTED, too_large):
            await answered(seat, outcome, done)

        assert len(done) == 2


async def test_a_flood_alone_is_answered_together() -> None:
    """In the next turn, all of it: there is nobody to make way for."""
    seat, done = BackSeat(a_turn=1), list[int]()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(answered(seat, WRONG, done))
        for _ in range(100):
            await asyncio.sleep(0)
            if done:
                break

        assert len(done) == 10


async def test_a_sender_that_leaves_takes_no_turn() -> None:
    """Its place goes to the next."""
    seat, done = BackSeat(a_turn=1), list[int]()
    await seat.wait(ACCEPTED)
    async with asyncio.TaskGroup() as tasks:
        each = [tasks.create_task(answered(seat, WRONG, done)) for _ in range(5)]
        await asyncio.sleep(0)
        each[-2].cancel()

    assert len(done) == 4
