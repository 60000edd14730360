"""Lanes of one partition: order, bounds, and what a hand-over leaves behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from hookline.log import Record
from services.executor.lanes import HELD, Bounds, Finish, Lanes, Rest
from services.executor.tenure import Tenure
from tests.waiting import until

LIMIT_BYTES = 1_000


def record(offset: int, key: bytes = b"flow", size: int = 1) -> Record:
    return Record(0, offset, 0, key, b"x" * size)


@dataclass(slots=True)
class Work:
    """Executions that last until they are let go; each knows its tenure."""

    began: list[int] = field(default_factory=list)
    finish: dict[int, Finish] = field(default_factory=dict)
    gates: dict[int, asyncio.Event] = field(default_factory=dict)
    rests: dict[int, list[Rest]] = field(default_factory=dict)
    log: list[Record] = field(default_factory=list)

    async def execute(
        self, one: Record, finish: Finish, _tenure: Tenure
    ) -> Rest | None:
        """Wait to be let go; its end is durable when `finish` is called."""
        self.began.append(one.offset)
        self.finish[one.offset] = finish
        if rests := self.rests.get(one.offset):
            return rests.pop(0)
        await self.gates.setdefault(one.offset, asyncio.Event()).wait()
        return None

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """The log that parked records are read back from."""
        yield [one for one in self.log if start <= one.offset < end]

    def let_go(self, offset: int) -> None:
        """Let an execution end."""
        self.gates.setdefault(offset, asyncio.Event()).set()


@asynccontextmanager
async def lanes_of(
    work: Work, tenure: Tenure, slots: int = 100, park_after_s: float = 5.0
) -> AsyncIterator[Lanes]:
    """Lanes with small bounds; what still runs at the end is abandoned."""
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(
            work.execute,
            work.read,
            tasks,
            asyncio.Semaphore(slots),
            tenure,
            bounds=Bounds(lambda: LIMIT_BYTES, 10, park_after_s=park_after_s),
        )
        yield lanes
        await lanes.drain(0)


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_event_of_a_flow_starts_when_the_one_before_has_ended() -> None:
    """Another flow's does not wait."""
    work = Work()
    async with lanes_of(work, Tenure()) as lanes:
        lanes.add([record(0), record(1), record(2, b"other")])
        await turns()
        before = list(work.began)
        work.let_go(0)
        await turns()

        assert (before, work.began) == ([0, 2], [0, 2, 1])


@pytest.mark.parametrize(
    ("records", "waits"),
    [
        ([record(n, b"%d" % n) for n in range(9)], False),
        ([record(n, b"%d" % n) for n in range(10)], True),
        ([record(n) for n in range(19)], False),
        ([record(0, size=LIMIT_BYTES - 1)], False),
        ([record(0, size=LIMIT_BYTES)], True),
        ([record(n, b"%d" % n, size=300) for n in range(4)], True),
        ([record(n, size=300) for n in range(4)], False),
    ],
)
async def test_reading_waits_while_too_much_is_unfinished(
    records: list[Record], *, waits: bool
) -> None:
    """Too many events, or too many bytes; it goes on when one has ended durably.

    Not for one lane: what it has beyond its part leaves memory.
    """
    work = Work()
    async with lanes_of(work, Tenure()) as lanes:
        lanes.add(records)
        waiting = asyncio.ensure_future(lanes.wait_for_room())
        await turns()
        waited = not waiting.done()
        work.let_go(0)
        await turns()
        still = not waiting.done()
        work.finish[0]()
        await waiting

        assert (waited, still) == (waits, waits)


async def test_a_hand_over_waits_until_ends_are_durable() -> None:
    """What has run but is not yet written down may still be, within the limit."""
    work = Work()
    async with lanes_of(work, Tenure()) as lanes:
        lanes.add([record(0), record(1)])
        await turns()
        draining = asyncio.ensure_future(lanes.drain(30))
        work.let_go(0)
        await turns()
        before = draining.done()
        work.finish[0]()

        assert await draining
        assert not before
        assert work.began == [0]
        assert lanes.commit_offset == 1


async def test_what_a_hand_over_abandons_is_not_committed() -> None:
    """It runs again where the partition goes; nothing after it counts as done."""
    work = Work()
    async with lanes_of(work, Tenure()) as lanes:
        lanes.add([record(0), record(1, b"other"), record(2)])
        await turns()
        work.let_go(1)
        await turns()
        work.finish[1]()

        assert not await lanes.drain(0)
        assert lanes.commit_offset == 0


async def test_nothing_starts_while_ownership_is_in_doubt() -> None:
    """It starts when the doubt is over, and never where the tenure has ended."""
    owned = False
    tenure = Tenure(lambda: owned)
    waiting = asyncio.ensure_future(tenure.wait_held())
    await turns()
    in_doubt = not waiting.done()
    owned = True
    await waiting
    tenure.end()

    assert in_doubt
    assert not tenure.holds()
    with pytest.raises(asyncio.CancelledError):
        await tenure.wait_held()


async def test_what_rests_keeps_its_lane_and_no_slot() -> None:
    """With one slot for all, another flow runs; a stop lets go of what rests."""
    work = Work()
    work.rests[0] = [Rest(2**60)]
    work.rests[1] = [HELD]
    async with lanes_of(work, Tenure(), slots=1) as lanes:
        lanes.add([record(0), record(1, b"held"), record(2, b"other"), record(3)])
        lanes.add([record(4, b"held")])
        await turns()

        assert work.began == [0, 1, 2]
        assert not await lanes.drain(0)
        assert lanes.commit_offset == 0


async def test_what_has_rested_goes_on_before_the_next_of_its_flow() -> None:
    """When it is due it is run again, in its place."""
    work = Work()
    work.rests[0] = [Rest(1), Rest(1)]
    async with lanes_of(work, Tenure()) as lanes:
        lanes.add([record(0), record(1)])
        await until(lambda: len(work.began) == 3)
        work.let_go(0)
        await until(lambda: len(work.began) == 4)

        assert work.began == [0, 0, 0, 1]


async def test_a_lane_that_is_woken_while_it_decides_to_rest_does_not_rest() -> None:
    """It has decided by what was before; what has woken it is not missed, nor kept."""
    began: list[int] = []

    async def execute(one: Record, _finish: Finish, _tenure: Tenure) -> Rest | None:
        began.append(one.offset)
        if len(began) == 1:
            lanes.wake(one.key)
        return HELD

    work = Work()
    work.log = [record(0)]
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(
            execute,
            work.read,
            tasks,
            asyncio.Semaphore(1),
            Tenure(),
            bounds=Bounds(lambda: LIMIT_BYTES, events=10),
        )
        lanes.add(work.log)
        await turns()
        await lanes.drain(0)

    assert began == [0, 0]


async def test_a_lane_that_is_woken_goes_on_at_once_and_may_rest_again() -> None:
    """Whoever decides about an event, or a flow, need not wait until it is due."""
    work = Work()
    work.rests[0] = [HELD, Rest(2**60)]
    async with lanes_of(work, Tenure()) as lanes:
        work.log = [record(0), record(1, b"other")]
        lanes.add(work.log)
        await turns()
        lanes.wake(b"nobody")
        lanes.wake(record(0).key)
        await turns()
        once_more = list(work.began)
        lanes.wake(record(0).key)
        await turns()

        assert once_more == [0, 1, 0]
        assert work.began == [0, 1, 0, 0]
