"""Stop 7, its helm: what people decide about single events is carried out at once.

The owner of a partition reads its controls beside its events. Each is written into the
journal with what it makes of its execution, one after another; only then is it acted upon.
So each is carried out once: before its record is durable nothing has come of it, and
afterwards the journal has what came of it, for whoever owns the partition then.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from hookline.errors import Unavailable
from hookline.failpoints import failpoint
from hookline.log import Log, Record
from hookline.telemetry import get_logger
from hookline.topics import Topics
from hookline.v1 import control_pb2, event_pb2, execution_pb2
from services.executor.deciding import decide
from services.executor.journal import Journal, sendable
from services.executor.lanes import Lanes
from services.executor.tenure import Tenure

LOOK_S: Final = 0.25
PAUSE_S: Final = 0.5
LOOKS: Final = 8
NO_CONTROL: Final = "the record is no control"
NO_EVENT: Final = "there is no such event at this position"
HAS_ENDED: Final = "it has ended: replay it to run it again"
ASKED_TWICE: Final = "it was asked for twice, and carried out once"
logger = get_logger(__name__)


@dataclass(slots=True)
class Controlling:
    """Carries out the controls of one partition."""

    log: Log
    topics: Topics
    partition: int
    journal: Journal
    lanes: Lanes
    tenure: Tenure
    come: asyncio.Event = field(default_factory=asyncio.Event)
    end: int = 0

    async def catch_up(self) -> None:
        """Carry out what was asked before the partition was had: before its events run.

        Raises CancelledError where the tenure ends first.
        """
        while True:
            try:
                bounds = await self.log.bounds(self.topics.controls, self.partition)
                self.end = bounds.end
                # What is forgotten by its age is not to be waited for.
                self.journal.state.controls.pass_by(bounds.start)
                await self._take_all()
                if self.is_done:
                    return
                # A new leader of the partition may not show all of it for a moment.
                await self.tenure.wait(LOOK_S)
            except Unavailable as error:
                self._delay(error)
                await self.tenure.wait(PAUSE_S)

    async def follow(self) -> None:
        """Carry out what is there and what comes, until cancelled."""
        while True:
            try:
                await self._take_all()
            except Unavailable as error:
                self._delay(error)
                await asyncio.sleep(PAUSE_S)
            else:
                await self._wait_come()

    async def _wait_come(self) -> None:
        """Return when there is more, or after a moment where not all was shown."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self.is_done else PAUSE_S):
                await self.come.wait()

    @property
    def is_done(self) -> bool:
        """Whether all is taken that there was at the last look."""
        return self.journal.state.controls.next_offset >= self.end

    def _delay(self, error: Unavailable) -> None:
        logger.warning("controls.delayed", partition=self.partition, error=str(error))

    def reach(self, end: int) -> None:
        """There are controls up to here."""
        if end > self.end:
            self.end = end
            self.come.set()

    async def _take_all(self) -> None:
        self.come.clear()
        taken = self.journal.state.controls
        async for batch in self.log.read(
            self.topics.controls, self.partition, taken.next_offset, self.end
        ):
            for record in batch:
                await self.tenure.wait_held()
                await self._take(record)

    async def _take(self, record: Record) -> None:
        control = _control_in(record)
        taken = execution_pb2.ControlTaken(
            control_offset=record.offset,
            control_id=control.id,
            what=control.WhichOneof("what") or "",
            by=sendable(control.by),
            taken_at_us=time.time_ns() // 1000,
        )
        if reason := await self._why_not(control, record):
            decision: execution_pb2.ExecutionProgress | str = reason
        else:
            # Nothing may come between here and its record, which moves what is known.
            offset = control.event_offset
            known = self.journal.state.open.get(offset)
            decision = decide(control, known, self.journal.running.get(offset))
        if isinstance(decision, str):
            taken.no_effect = decision
        else:
            taken.progress.CopyFrom(decision)
        await self.journal.write_control(record, taken, control)
        failpoint("executor.after_control_before_acting")
        logger.info(
            "control.taken",
            event_id=control.event_id,
            flow_id=control.flow_id,
            what=taken.what,
            by=taken.by,
            outcome=taken.no_effect or "carried out",
        )
        if not taken.no_effect:
            self._act(record.key, control)

    async def _why_not(self, control: control_pb2.Control, record: Record) -> str:
        """Why nothing can come of a control, whatever its execution is at."""
        if not control.id:
            return NO_CONTROL
        if self.journal.state.controls.has(control.id):
            return ASKED_TWICE
        if not await self._is_there(control, record.key):
            return NO_EVENT
        if self._has_ended(record.key, control.event_offset):
            return HAS_ENDED
        return ""

    def _has_ended(self, key: bytes, offset: int) -> bool:
        state, lanes = self.journal.state, self.lanes
        if offset in state.ended:
            return True  # it is to be read once more, and passed over
        read_to = max(state.committed, lanes.read_to)
        return offset < read_to and not lanes.holds(key, offset)

    async def _is_there(self, control: control_pb2.Control, key: bytes) -> bool:
        """Whether the event is where the control says; a decision holds for no other."""
        offset = control.event_offset
        for _ in range(LOOKS):
            # A new leader of the partition may not show it for a moment.
            bounds = await self.log.bounds(self.topics.events, self.partition)
            if bounds.end > offset:
                break
            await self.tenure.wait(LOOK_S)
        async for batch in self.log.read(
            self.topics.events, self.partition, offset, offset + 1
        ):
            for record in batch:
                wanted = (offset, key, control.event_id)
                return (record.offset, record.key, _id_in(record)) == wanted
        return False

    def _act(self, key: bytes, control: control_pb2.Control) -> None:
        running = self.journal.running.get(control.event_offset)
        what = control.WhichOneof("what")
        if running is None:
            self.lanes.wake(key)
        elif what in {"skip", "cancel"}:
            running.stop(cuts_off=what == "cancel")


class Controls:
    """Looks for new controls, of all of an executor's partitions together."""

    def __init__(self, log: Log, topics: Topics, *, look_s: float = LOOK_S) -> None:
        self._log = log
        self._topics = topics
        self._look_s = look_s
        self._by_partition: dict[int, Controlling] = {}

    @asynccontextmanager
    async def carrying_out(
        self,
        partition: int,
        journal: Journal,
        lanes: Lanes,
        tenure: Tenure,
        tasks: asyncio.TaskGroup,
    ) -> AsyncIterator[None]:
        """Carry out the controls of a partition while the block runs.

        It begins when all are carried out that were there before.
        """
        one = Controlling(self._log, self._topics, partition, journal, lanes, tenure)
        await one.catch_up()
        self._by_partition[partition] = one
        following = tasks.create_task(one.follow())
        try:
            yield
        finally:
            following.cancel()
            if self._by_partition.get(partition) is one:
                del self._by_partition[partition]

    async def look(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self._look()
            except Unavailable as error:
                logger.warning("controls.delayed", error=str(error))
            await asyncio.sleep(self._look_s)

    async def _look(self) -> None:
        found = dict(self._by_partition)
        bounds = await asyncio.gather(
            *(self._log.bounds(self._topics.controls, number) for number in found)
        )
        for one, (_, end) in zip(found.values(), bounds, strict=True):
            one.reach(end)


def _control_in(record: Record) -> control_pb2.Control:
    """The control; an empty one where the record is none."""
    try:
        return control_pb2.Control.FromString(record.value or b"")
    except DecodeError:
        return control_pb2.Control()


def _id_in(record: Record) -> str:
    try:
        return event_pb2.Event.FromString(record.value or b"").id
    except DecodeError:
        return ""
