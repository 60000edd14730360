"""Flows in memory: the compacted topic `flows`, read to its end and then followed."""

import asyncio
from collections.abc import Callable, Iterator

from hookline.event import FlowId
from hookline.log import CAUGHT_UP, Log, Record
from hookline.topics import Topics
from hookline.v1 import flow_pb2

Changed = Callable[[FlowId], None]


def version_key(flow_id: str, version: int) -> bytes:
    """The record key of one version of a flow."""
    return f"version/{flow_id}/{version}".encode()


def current_key(flow_id: str) -> bytes:
    """The record key of the pointer to a flow's current version."""
    return f"current/{flow_id}".encode()


class Catalog:
    """Every version of every flow, and which one is current.

    A pointer that names another version to replace than the current one is stale, and
    ignored by all who read it: the first in the log has won.
    """

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._topic = topics.flows
        self._versions: dict[tuple[str, int], flow_pb2.Flow] = {}
        self._current: dict[str, int] = {}
        self._caught_up = asyncio.Event()
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

    async def wait_version(self, flow_id: str, version: int) -> flow_pb2.Flow:
        """Return a version as soon as it has been read."""
        key = (flow_id, version)
        async with self._news:
            await self._news.wait_for(lambda: key in self._versions)
        return self._versions[key]

    async def wait_current(self, flow_id: str, version: int) -> None:
        """Return when a flow's current version is this one or a later one."""
        async with self._news:
            await self._news.wait_for(lambda: self._current.get(flow_id, 0) >= version)

    async def run(self) -> None:
        """Follow the topic until cancelled, or until the log closes."""
        async for batch in self._log.follow(self._topic):
            if batch == CAUGHT_UP:
                self._caught_up.set()
                continue
            changed = [self._take(record) for record in batch]
            for flow_id in filter(None, changed):
                for listener in self._listeners:
                    listener(FlowId(flow_id))
            async with self._news:
                self._news.notify_all()

    def _take(self, record: Record) -> str | None:
        if record.value is None:
            return None
        if record.key.startswith(b"version/"):
            flow = flow_pb2.Flow.FromString(record.value)
            self._versions[flow.id, flow.version] = flow
            return None
        pointer = flow_pb2.CurrentFlow.FromString(record.value)
        if not self._may_move(pointer):
            return None
        self._current[pointer.flow_id] = pointer.version
        return pointer.flow_id

    def _may_move(self, pointer: flow_pb2.CurrentFlow) -> bool:
        known = (pointer.flow_id, pointer.version) in self._versions
        before = self._current.get(pointer.flow_id, 0)
        # After compaction the first pointer that is read replaces one that is gone.
        first = pointer.flow_id not in self._current
        return known and (first or pointer.replaces == before)
