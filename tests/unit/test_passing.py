"""What is passed, as messages and in memory; and records that cannot be read back."""

import asyncio
import sys
import time
from array import array
from collections.abc import AsyncIterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from hookline.claims import Claim
from hookline.log import Record
from hookline.v1 import execution_pb2
from services.executor.lane import Lane
from services.executor.lanes import HELD, Rest
from services.executor.partition_state import PartitionState
from services.executor.passing import in_parts, offsets_of
from services.executor.resting import AHEAD_S, Rests
from services.executor.tenure import Tenure
from tests.unit.test_lanes import Work, lanes_of, record, turns
from tests.waiting import until

OFFSETS = st.lists(st.integers(0, 2**40), min_size=1, unique=True).map(sorted)


@given(st.lists(st.tuples(st.binary(min_size=1), OFFSETS), max_size=5))
def test_offsets_come_back_from_parts_as_they_were(
    lanes: list[tuple[bytes, list[int]]],
) -> None:
    """However small the parts are, in their order."""
    parts = list(in_parts(lanes, part_bytes=90))
    said = [one for part in parts for one in part.lanes]
    found = [(one.key, offset) for one in said for offset in offsets_of(one)]

    assert found == [(key, offset) for key, offsets in lanes for offset in offsets]
    assert all(len(one.distances) <= 3 for one in said)


def test_a_hundred_thousand_parked_events_take_less_than_two_megabytes() -> None:
    """In memory, in the journal, and when they are restored."""
    lane = Lane(b"flow")
    for offset in range(100_000, 300_000, 2):
        lane.append(offset)
    parts = list(in_parts([(b"flow", lane.unpassed())]))
    state = PartitionState(300_000)
    for number, part in enumerate(parts, 1):
        part.number = number
        state.take(execution_pb2.JournalEntry(passed=part))
    state.settle()

    assert sys.getsizeof(lane._offsets) < 2_000_000
    assert sum(part.ByteSize() for part in parts) < 300_000
    assert max(part.ByteSize() for part in parts) <= 256 * 1024
    assert state.passed[b"flow"] == array("q", range(100_000, 300_000, 2))


def said(number: int, *offsets: int, epoch: int = 1) -> execution_pb2.JournalEntry:
    """A record of the journal that says of a lane what is passed."""
    [passed] = in_parts([(b"flow", offsets)])
    passed.number = number
    return execution_pb2.JournalEntry(epoch=epoch, owner=1, passed=passed)


def ended(offset: int) -> execution_pb2.JournalEntry:
    return execution_pb2.JournalEntry(
        epoch=1, owner=1, event_offset=offset, ended=execution_pb2.ExecutionEnded()
    )


def left_of(*entries: execution_pb2.JournalEntry, number: int = 0) -> list[int]:
    """What a restore has as passed, of a commit at 10 that names a number."""
    state = PartitionState(10, Claim(1, 1), number)
    for entry in entries:
        state.take(entry)
    state.settle()
    return list(state.passed.get(b"flow", ()))


def test_what_has_ended_is_not_passed_wherever_its_end_stands() -> None:
    """Before or behind; and what stands behind the commit is read again anyway."""
    assert left_of(said(1, 3, 5, 12), ended(5)) == [3]
    assert left_of(ended(5), said(1, 3, 5)) == [3]
    assert left_of(said(1, 3, 5), said(2, 5, 7), said(1, 3, 5)) == [3, 5, 7]


def test_what_was_said_before_the_bookmark_is_not_believed_again() -> None:
    """A record that comes late once more: its events may have ended before it."""
    assert left_of(said(2, 3), said(3, 5), number=2) == [5]
    assert left_of(said(2, 3, epoch=2), number=2) == [3]


async def test_a_record_that_is_gone_holds_its_lane_and_no_other() -> None:
    """It is looked for again, and the lane goes on when it is there."""
    work, records = Work(), [record(0), record(1, b"other"), record(2)]
    work.rests = {0: [HELD], 1: [HELD]}
    async with lanes_of(work, Tenure()) as lanes:
        lanes.add(records)
        await turns()
        work.log = records[1:]
        lanes.wake(b"flow")
        lanes.wake(b"other")
        await until(lambda: work.began == [0, 1, 1])
        await turns()
        held = list(work.began)
        work.log = records
        lanes.wake(b"flow")
        await until(lambda: len(work.began) == 4)
        work.let_go(0)
        await until(lambda: len(work.began) == 5)

    assert held == [0, 1, 1]
    assert work.began == [0, 1, 1, 0, 2]


class Watched(Work):
    """When records were read back."""

    def __init__(self, rests: dict[int, list[Rest]]) -> None:
        super().__init__(rests=rests)
        self.read_at: list[float] = []

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        self.read_at.append(time.time())
        yield [one for one in self.log if start <= one.offset < end]


async def test_what_is_parked_is_read_back_before_it_is_due() -> None:
    """It starts when it is due, and not before, however long the read takes.

    Others fill memory by more than half.
    """
    due_s = time.time() + AHEAD_S + 0.3
    work = Watched({0: [Rest(int(due_s * 1e6))]})
    work.log = [record(0), record(1)]
    async with lanes_of(work, Tenure(), park_after_s=0) as lanes:
        lanes.add([*work.log, *(record(n, b"%d" % n) for n in range(2, 8))])
        await until(lambda: lanes.parked == 2)
        await until(lambda: lanes.parked == 1)
        began, read_at = list(work.began), list(work.read_at)
        await until(lambda: work.began.count(0) == 2)
        began_at = time.time()

    assert began.count(0) == 1
    assert read_at[0] < due_s <= began_at


async def test_what_is_due_soon_stays_where_there_is_room() -> None:
    """Its commit passes it all the same; what comes meanwhile does not enter memory."""
    work = Watched({0: [Rest(int((time.time() + 0.3) * 1e6))]})
    work.log = [record(0), record(1), record(2)]
    async with lanes_of(work, Tenure(), park_after_s=0) as lanes:
        lanes.add(work.log[:2])
        await until(lambda: lanes.parked == 1)
        lanes.add(work.log[2:])
        parked, due = lanes.parked, lanes.passing.due()
        await until(lambda: work.began == [0, 0])
        read_at = list(work.read_at)
        work.let_go(0)
        await until(lambda: work.began == [0, 0, 1])

    assert (parked, read_at) == (2, [])
    assert [list(one.offsets) for one in due] == [[0, 1, 2]]


async def test_what_rests_makes_room_for_what_is_due() -> None:
    """However long it would have stayed."""
    due_s = time.time() + 0.5
    long = {n: [Rest(int((due_s + 50) * 1e6))] for n in range(1, 6)}
    work = Work(rests={0: [Rest(int(due_s * 1e6))], **long})
    work.log = [record(n, b"%d" % n) for n in range(11)]
    async with lanes_of(work, Tenure(), park_after_s=0) as lanes:
        lanes.add(work.log[:6])
        await until(lambda: lanes.parked == 1)  # half of memory is theirs
        lanes.add(work.log[6:])
        was_full = lanes.is_full
        await until(lambda: work.began.count(0) == 2)

    assert was_full
    assert [work.began.count(n) for n in range(1, 6)] == [1] * 5


async def test_a_lane_that_is_left_alone_is_not_read_ahead() -> None:
    """It could not be read: it is tried again when its delay is over, and not before."""
    gone_on: list[Lane] = []
    near: list[Lane] = []
    rests, lane = Rests(gone_on.append, near.append, 0), Lane(b"flow")
    lane.near = True  # of a rest before

    rests.delay(lane, AHEAD_S + 0.1)
    was_near = lane.near
    await until(lambda: gone_on == [lane])

    assert not was_near
    assert not near


class Counted(Work):
    """How many records have been read back."""

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """The log, a record a batch."""
        for one in self.log:
            if start <= one.offset < end:
                yield [one]


async def test_a_lane_whose_event_rests_again_and_again_is_parked() -> None:
    """Each rest is short, all together are not."""
    work = Counted(rests={0: [Rest(1), Rest(2**60)]})
    work.log = [record(0), record(1)]
    async with lanes_of(work, Tenure()) as lanes:
        lanes.add(work.log)
        await until(lambda: lanes.parked == 2)
        [passing] = lanes.passing.due()
        before = lanes.commit_offset
        lanes.passing.take([passing])

        assert (before, lanes.commit_offset) == (0, 2)
        assert lanes.lowest_unfinished == 0
        assert await asyncio.wait_for(lanes.drain(30), 30)
