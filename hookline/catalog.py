"""Flows in memory: the compacted topic `flows`, read to its end and then followed."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from google.protobuf.message import DecodeError

from hookline.errors import Unavailable
from hookline.event import FlowId
from hookline.flow_records import FlowRecords
from hookline.log import CAUGHT_UP, Log, Record
from hookline.telemetry import get_logger
from hookline.topics import Topics
from hookline.v1 import flow_pb2

CATCH_UP_S: Final = 2.0
CATCH_UP_PAUSE_S: Final = 0.02
logger = get_logger(__name__)
Changed = Callable[[FlowId], None]


class Catalog:
    """Every version of every flow, and what was decided of each.

    Routers that apply a flow, or decide of it, at the same time may write the same
    number: the first in the log counts, the others are ignored by all who read it.
    """

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._topic = topics.flows
        self.records = FlowRecords()
        self._next_offset = 0
        self._caught_up = asyncio.Event()
        self._answer: asyncio.Future[None] | None = None
        self._asked = asyncio.Event()
        self._news = asyncio.Condition()
        self._listeners: list[Changed] = []

    def on_change(self, listener: Changed) -> None:
        """Have a function called with the id of each flow that has changed."""
        self._listeners.append(listener)

    def current(self, flow_id: str) -> flow_pb2.Flow | None:
        """The highest version of a flow, whatever its state is."""
        return self.records.current(flow_id)

    def version(self, flow_id: str, version: int) -> flow_pb2.Flow | None:
        """A certain version of a flow."""
        return self.records.version(flow_id, version)

    def flows(self) -> Iterator[flow_pb2.Flow]:
        """The highest version of each flow, by id, whatever its state is."""
        return self.records.flows()

    async def wait_caught_up(self) -> None:
        """Return when all that was in the topic at the start has been read."""
        await self._caught_up.wait()

    async def catch_up(self) -> None:
        """Return when what was in the topic at the call has been read, within seconds.

        Raises Unavailable where the log cannot be asked.
        """
        try:
            async with asyncio.timeout(CATCH_UP_S):
                end = (await self._log.bounds(self._topic, 0)).end
                async with self._news:
                    await self._news.wait_for(lambda: self._next_offset >= end)
        except TimeoutError as error:
            raise Unavailable("The flows are being read: try again later.") from error

    async def wait_current(self, flow_id: str, version: int) -> None:
        """Return when a flow's highest version is this one or a later one."""

        def is_there() -> bool:
            flow = self.records.current(flow_id)
            return flow is not None and flow.version >= version

        async with self._news:
            await self._news.wait_for(is_there)

    async def wait_decided(self, flow_id: str, number: int) -> None:
        """Return when a flow's decision is of this number or a higher one."""
        async with self._news:
            await self._news.wait_for(
                lambda: self.records.decision(flow_id).number >= number
            )

    def caught_up(self) -> "asyncio.Future[None]":
        """A future for `catch_up`: one for all who ask while another is under way."""
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
            self._asked.set()
        return self._answer

    async def run(self) -> None:
        """Follow the topic until cancelled, or until the log closes."""
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._answer_all())
            await self._follow()
            answering.cancel()

    async def _answer_all(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            answer, self._answer = self._answer, None
            try:
                await self.catch_up()
            except Unavailable as error:
                _settle(answer, error)
            else:
                _settle(answer, None)
            # However many ask for what is not there, the log is asked so often only.
            await asyncio.sleep(CATCH_UP_PAUSE_S)

    async def _follow(self) -> None:
        async for batch in self._log.follow(self._topic):
            if batch == CAUGHT_UP:
                self._caught_up.set()
                continue
            changed = [self._take(record) for record in batch]
            self._next_offset = batch[-1].offset + 1
            for flow_id in filter(None, changed):
                for listener in self._listeners:
                    listener(FlowId(flow_id))
            async with self._news:
                self._news.notify_all()

    def _take(self, record: Record) -> str | None:
        try:
            return self.records.take(record)
        except DecodeError:
            # Others may write to the topic, too; they cannot end us.
            logger.error("flow.unreadable", offset=record.offset)  # noqa: TRY400
            return None


def _settle(answer: "asyncio.Future[None] | None", error: Unavailable | None) -> None:
    if answer is None or answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
        answer.exception()  # who asked may have left
