"""A whole Hookline in the test's own loop: real HTTP, real gRPC, the embedded log."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import msgspec

from hookline.cli.hosting import Hosted, Options, hosting
from hookline.cli.options import TOKEN_FILE
from hookline.cli.readiness import Readiness
from hookline.components.steps import Types
from hookline.settings import Settings
from hookline.v1 import (
    event_pb2,
    execution_pb2,
    execution_pb2_grpc,
    flow_pb2,
    flow_pb2_grpc,
)
from tests.caller import Answer, Pairs, call

JSON = ("Content-Type", "application/json")
LOOPBACK_ALLOWED = {"HOOKLINE_EGRESS__ALLOW": "127.0.0.0/8"}


@dataclass(slots=True)
class Ends:
    """What executions have come to, in the order in which they ended."""

    by_event: dict[str, execution_pb2.ExecutionEnded] = field(default_factory=dict)
    order: list[event_pb2.Event] = field(default_factory=list)
    duplicates: list[execution_pb2.ExecutionEnded] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def take(self, event: event_pb2.Event, ended: execution_pb2.ExecutionEnded) -> None:
        """Keep an end; the executor's listener."""
        if ended.status == execution_pb2.STATUS_DUPLICATE:
            self.duplicates.append(ended)
            self.by_event.setdefault(event.id, ended)
        else:
            self.by_event[event.id] = ended
        self.order.append(event)
        loop = asyncio.get_running_loop()
        loop.call_soon(asyncio.ensure_future, self._tell())

    async def wait(self, event_id: str) -> execution_pb2.ExecutionEnded:
        """Return how an event's execution has ended, when it has."""
        async with self.news:
            await self.news.wait_for(lambda: event_id in self.by_event)
        return self.by_event[event_id]

    async def wait_count(self, count: int) -> None:
        """Return when so many events have ended."""
        async with self.news:
            await self.news.wait_for(lambda: len(self.by_event) >= count)

    async def _tell(self) -> None:
        async with self.news:
            self.news.notify_all()


@dataclass(frozen=True, slots=True)
class Instance:
    """A running Hookline, and what its executions have come to."""

    hosted: Hosted
    metadata: tuple[tuple[str, str], ...]
    channel: grpc.aio.Channel
    ends: Ends

    async def send(
        self,
        flow_id: str,
        body: bytes | None = None,
        headers: Pairs = (JSON,),
        *,
        method: str = "POST",
        rest: str = "",
    ) -> Answer:
        """Send a webhook to a flow."""
        path = f"/hook/{flow_id}{rest}"
        return await call(self.hosted.http, method, path, headers, body)

    async def result(self, answer: Answer) -> Any:
        """What the execution that an answer speaks of has left in the end."""
        ended = await self.ends.wait(answer.headers["x-event-id"])
        assert ended.status == execution_pb2.STATUS_COMPLETED, ended
        return msgspec.json.decode(ended.result)

    async def event(self, answer: Answer) -> event_pb2.Event:
        """The event that an answer speaks of, read back from the log over gRPC."""
        stub = execution_pb2_grpc.ExecutionServiceStub(self.channel)
        request = execution_pb2.GetEventRequest(event_id=answer.headers["x-event-id"])
        return (await stub.GetEvent(request, metadata=self.metadata)).event

    async def apply(self, *flows: str) -> flow_pb2.ApplyFlowsResponse:
        """Apply flow files."""
        stub = flow_pb2_grpc.FlowServiceStub(self.channel)
        files = [
            flow_pb2.FlowFile(file_name=f"{number}.yaml", content=flow.encode())
            for number, flow in enumerate(flows)
        ]
        request = flow_pb2.ApplyFlowsRequest(files=files)
        return await stub.ApplyFlows(request, metadata=self.metadata)


@asynccontextmanager
async def running(
    directory: Path,
    *flows: str,
    environment: Mapping[str, str] | None = None,
    flow_directory: Path | None = None,
    executor: bool = True,
    vfs: str | None = None,
    types: Types | None = None,
) -> AsyncIterator[Instance]:
    """Run an instance with these flow files, on ports that are free."""
    environment = {**LOOPBACK_ALLOWED, **(environment or {})}
    options = Options(
        data=directory / "data",
        flows=flow_directory or directory / "no-flows",
        http="127.0.0.1:0",
        grpc="127.0.0.1:0",
        admin="127.0.0.1:0",
        executor=executor,
    )
    settings = Settings.read(environment)
    ends = Ends()
    readiness = Readiness()
    async with hosting(
        options, settings, environment, ends.take, readiness, vfs=vfs, types=types
    ) as hosted:
        readiness.start()
        token = (options.data / TOKEN_FILE).read_text().strip()
        async with grpc.aio.insecure_channel(hosted.grpc) as channel:
            metadata = (("authorization", f"Bearer {token}"),)
            instance = Instance(hosted, metadata, channel, ends)
            if flows:
                answer = await instance.apply(*flows)
                assert not answer.mistakes, answer.mistakes
            yield instance
