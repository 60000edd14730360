"""Flows in memory: the compacted topic `flows`, read to its end and then followed."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final
from uuid import uuid4

from google.protobuf.message import DecodeError

from hookline.errors import Unavailable
from hookline.event import FlowId
from hookline.log import CAUGHT_UP, Log, Record
from hookline.telemetry import get_logger
from hookline.topics import Topics
from hookline.v1 import flow_pb2

CATCH_UP_S: Final = 2.0
CATCH_UP_PAUSE_S: Final = 0.02
logger = get_logger(__name__)
Changed = Callable[[FlowId], None]


def version_key(flow_id: str, version: int) -> bytes:
    """A record key for one version of a flow; never the same twice.

    So compaction takes nothing, and whoever reads the topic, whenever, finds the same
    first record of a version.
    """
    return f"version/{flow_id}/{version}/{uuid4().hex}".encode()


class Catalog:
    """Every version of every flow; the highest is the current one.

    Routers that apply a flow at the same time may write the same version: the first in
    the log counts, the others are ignored by all who read it.
    """

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._topic = topics.flows
        self._versions: dict[tuple[str, int], flow_pb2.Flow] = {}
        self._current: dict[str, int] = {}
        self._next_offset = 0
        self._caught_up = asyncio.Event()
        self._answer: asyncio.Future[None] | None = None
        self._asked = asyncio.Event()
        self._news = asyncio.Condition()
        self._listeners: list[Changed] = []

    def on_change(self, listener: Changed) -> None:
        """Have a function called with the id of each flow whose current version moves."""
        self._listeners.append(listener)

    def current(self, flow_id: str) -> flow_pb2.Flow | None:
        """The current version of a flow."""
        version = self._current.get(flow_id)
        return None if version is None else self._versions[flow_id, version]

    def version(self, flow_id: str, version: int) -> flow_pb2.Flow | None:
        """A certain version of a flow."""
        return self._versions.get((flow_id, version))

    def flows(self) -> Iterator[flow_pb2.Flow]:
        """The current versions, by id."""
        for flow_id in sorted(self._current):
            yield self._versions[flow_id, self._current[flow_id]]

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
        """Return when a flow's current version is this one or a later one."""
        async with self._news:
            await self._news.wait_for(lambda: self._current.get(flow_id, 0) >= version)

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
        if record.value is None or not record.key.startswith(b"version/"):
            return None
        try:
            flow = flow_pb2.Flow.FromString(record.value)
        except DecodeError:
            # Others may write to the topic, too; they cannot end us.
            logger.error("flow.unreadable", offset=record.offset)  # noqa: TRY400
            return None
        if flow.version <= self._current.get(flow.id, 0):
            return None
        self._versions[flow.id, flow.version] = flow
        self._current[flow.id] = flow.version
        return flow.id


def _settle(answer: "asyncio.Future[None] | None", error: Unavailable | None) -> None:
    if answer is None or answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
        answer.exception()  # who asked may have left
