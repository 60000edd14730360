"""The journal beside a log that fails: what a lane writes is kept in its order."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from hookline.errors import Unavailable
from hookline.log import Log, Position, Record, Topic
from hookline.log.sqlite import open_log
from hookline.metrics import Metrics
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from services.executor.in_order import InOrder
from services.executor.journal import Ended, Journals
from services.executor.restore import Restorer
from tests.routers import HeldLog
from tests.test_crashes import every_record
from tests.test_restore import Assigned
from tests.waiting import until

TOPICS = Topics.with_partitions(1)
FLOW = "flow"


async def test_an_end_is_kept_behind_the_one_before_it_when_the_log_has_failed(
    tmp_path: Path,
) -> None:
    """Those that come while the first one waits to be tried again wait, too."""
    ended: list[int] = []
    async with open_log(tmp_path, TOPICS.all) as log:
        held = HeldLog(log)
        restored = await Restorer(log, TOPICS.executions, TOPICS.events).restore(
            Assigned()
        )
        metrics = Metrics(router=None, executor=None)
        journal = Journals(held, TOPICS, metrics).under(restored)

        def end(offset: int) -> None:
            event = event_pb2.Event(id=str(offset), flow_id=FLOW)
            record = Record(0, offset, 0, FLOW.encode(), b"")
            how = Ended(execution_pb2.STATUS_COMPLETED, 0, 1)
            journal.write_ended(event, record, how, partial(ended.append, offset))

        held.hold(FLOW)
        for offset in range(3):
            end(offset)
        held.fail(0, Unavailable("a fault of the disk"))
        held.release()
        await asyncio.sleep(0)
        end(3)
        await until(lambda: len(ended) == 4)
        kept = await every_record(log, TOPICS.executions)

    entries = [execution_pb2.JournalEntry.FromString(one.value or b"") for one in kept]
    assert ended == [0, 1, 2, 3]
    assert [one.event_offset for one in entries if one.HasField("ended")] == ended


@dataclass(slots=True)
class Failing:
    """A log as logs are: what a turn appends is kept or fails together.

    `turns` says of each whether it is kept and whether that is told; then all are.
    """

    turns: list[tuple[bool, bool]]
    kept: list[bytes] = field(default_factory=list)
    waiting: list[tuple[bytes, "asyncio.Future[Position]"]] = field(
        default_factory=list
    )

    def append(self, _: Topic, __: bytes, value: bytes) -> "asyncio.Future[Position]":
        """Take it; this turn's are kept or fail in the next one."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self._commit)
        self.waiting.append((value, loop.create_future()))
        return self.waiting[-1][1]

    def _commit(self) -> None:
        waiting, self.waiting = self.waiting, []
        is_kept, is_told = self.turns.pop() if self.turns else (True, True)
        for value, future in waiting:
            if is_kept:
                self.kept.append(value)
            if is_kept and is_told:
                future.set_result(Position(0, len(self.kept)))
            else:
                future.set_exception(Unavailable("perhaps it is there"))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8),
    st.lists(st.integers(1, 4), min_size=1, max_size=8),
)
async def test_what_is_kept_has_no_gap_at_any_time(
    turns: list[tuple[bool, bool]], bursts: list[int]
) -> None:
    """However the log fails, all that comes before what it has is there, too."""
    log, errors, durable = Failing(turns), list[Unavailable](), list[int]()
    rows = InOrder(cast("Log", log), TOPICS.executions, errors.append, pause_s=0.0)
    number = 0
    for burst in bursts:
        for _ in range(burst):
            value = number.to_bytes(2, "big")
            rows.append(b"flow", value, partial(_note, durable, number))
            number += 1
        await asyncio.sleep(0)
    await until(lambda: len(durable) == number)

    first_seen = list(dict.fromkeys(log.kept))
    assert durable == list(range(number))
    assert first_seen == sorted(first_seen)
    assert len(first_seen) == number


def _note(durable: list[int], number: int, _: Any) -> None:
    durable.append(number)


async def test_a_lane_does_not_wait_for_another_ones_failure(tmp_path: Path) -> None:
    """Order is kept within a key, and no further."""
    durable: list[int] = []
    async with open_log(tmp_path, TOPICS.all) as log:
        held = HeldLog(log)
        held.hold("stuck")
        rows = InOrder(held, TOPICS.executions, lambda _: None)
        rows.append(b"stuck", b"1", partial(_note, durable, 1))
        rows.append(b"other", b"2", partial(_note, durable, 2))
        rows.append(b"other", b"3", partial(_note, durable, 3))
        await until(lambda: len(durable) == 2)
        assert durable == [2, 3]
        held.release()
        await until(lambda: len(durable) == 3)
