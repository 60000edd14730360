"""Room for bodies on their way: reserved, waited for in turns, given back."""

import asyncio
from contextlib import ExitStack

import pytest

from hookline.errors import Unavailable
from services.router.upload_bound import FULL, Held, UploadBound

LONG_S = 60.0


def begin(bound: UploadBound, stack: ExitStack, source: str = "192.0.2.1") -> Held:
    return stack.enter_context(bound.holding(source, 1))


async def test_who_finds_no_room_waits_for_it() -> None:
    """Until another has ended; what was reserved is not counted again as it comes."""
    bound = UploadBound(1000, LONG_S)
    with ExitStack() as first, ExitStack() as second:
        await begin(bound, first).reserve(500)
        held = begin(bound, second)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(held.reserve(400))
            await asyncio.sleep(0)
            assert not waiting.done()
            first.close()
        held(400)

        assert bound.taken == 401
    assert bound.taken == 0


async def test_whoever_waits_too_long_is_refused_and_counts_no_more() -> None:
    """And does not stand in the way of who comes next."""
    bound = UploadBound(1000, 0.05)
    with ExitStack() as others:
        await begin(bound, others).reserve(500)
        with ExitStack() as late, pytest.raises(Unavailable, match=FULL):
            await begin(bound, late).reserve(100)
        others.close()
        await begin(bound, others).reserve(500)

    assert bound.taken == 0


async def test_whoever_leaves_while_waiting_lets_the_next_in() -> None:
    """The first of a source holds its others back, but not once it is gone."""
    bound = UploadBound(1000, LONG_S)
    with ExitStack() as stack:
        await begin(bound, stack).reserve(300)
        async with asyncio.TaskGroup() as tasks:
            leaving = tasks.create_task(begin(bound, stack).reserve(600))
            await asyncio.sleep(0)
            small = tasks.create_task(begin(bound, stack).reserve(100))
            await asyncio.sleep(0)
            leaving.cancel()

    assert small.exception() is None


async def test_a_source_that_takes_all_it_can_leaves_room_for_others() -> None:
    """Not even what waits of it comes first."""
    bound = UploadBound(1000, LONG_S)
    with ExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            greedy = [
                tasks.create_task(begin(bound, stack).reserve(100)) for _ in range(20)
            ]
            await asyncio.sleep(0)
            for source in ("192.0.2.2", "2001:db8::1"):
                await begin(bound, stack, source).reserve(150)
            assert sum(one.done() for one in greedy) == 5
            for one in greedy:
                one.cancel()

    assert bound.taken == 0


async def test_a_source_is_a_network_of_ipv6() -> None:
    """All addresses of its 64 bits have one share."""
    bound = UploadBound(1000, 0.01)
    with ExitStack() as stack:
        await begin(bound, stack, "2001:db8::1").reserve(500)
        with pytest.raises(Unavailable):
            await begin(bound, stack, "2001:db8::2").reserve(1)


async def test_what_comes_beyond_its_room_is_refused_at_once() -> None:
    """Who holds something does not wait for more in the middle of a piece."""
    bound = UploadBound(1000, LONG_S)
    with ExitStack() as stack:
        held = begin(bound, stack)
        held(500)
        with pytest.raises(Unavailable):
            held(1)
        held(-1)
        held(1)


async def test_heads_have_a_bound_of_their_own() -> None:
    """Calls that wait hold something, too."""
    bound = UploadBound(1000, LONG_S)
    with ExitStack() as stack:
        for _ in range(125):
            begin(bound, stack)
        with pytest.raises(Unavailable):
            begin(bound, stack)
        begin(bound, stack, "192.0.2.2")


async def test_what_lies_here_before_it_is_read_counts_until_it_is() -> None:
    """Where a body waits for its turn, its sender has sent on already."""
    bound = UploadBound(1000, LONG_S)
    with ExitStack() as stack:
        held = stack.enter_context(bound.holding("192.0.2.1", 1, 124))
        with pytest.raises(Unavailable):
            begin(bound, stack)
        held.begin()
        begin(bound, stack)

    assert bound.taken == 0
