"""What `hookline verify` does: numbered events through a running instance, and a verdict.

Uses what any user has: webhooks, FlowService, ExecutionService. One sender a flow, one
event after another, so that the order of the log is known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
import msgspec

from hookline.cli.remote import TIMEOUT_S, Metadata
from hookline.cli.sending import ANYWHERE
from hookline.cli.verdict import Ledger, Trace, Verdict, judge
from hookline.errors import Error, StepError
from hookline.http_client import GuardedClient, OutgoingRequest
from hookline.v1 import execution_pb2, execution_pb2_grpc, flow_pb2, flow_pb2_grpc

PREFIX: Final = "hookline-verify-"
FLOW: Final = """\
id: {flow_id}
name: scratch flow of `hookline verify`
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body.number}}}}]
"""
LOOK_S: Final = 0.2
QUIET_S: Final = 2.0
ACCEPTED: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Task:
    """How much is sent, where, how fast, and how long ends are waited for."""

    url: str
    events: int
    flows: int
    a_second: float
    patience_s: float


async def verify(task: Task, channel: Any, metadata: Metadata) -> Verdict:
    """Send, wait for the ends, judge. Raises Error where the scratch flows are refused."""
    flow_ids = [f"{PREFIX}{number}" for number in range(task.flows)]
    await _apply(flow_ids, channel, metadata)
    ledger = Ledger()
    # Where nobody tells of events, as without a console, that is said now.
    await _list(ledger, flow_ids[:1], channel, metadata)
    async with (
        GuardedClient(allow=ANYWHERE, keep_alive=True) as http,
        asyncio.TaskGroup() as tasks,
    ):
        tail = tasks.create_task(_tail(ledger, channel, metadata))
        await _wait_tailed(ledger, task.url, flow_ids[0], http)
        async with asyncio.TaskGroup() as senders:
            for index, flow_id in enumerate(flow_ids):
                count = len(range(index, task.events, task.flows))
                senders.create_task(_send(ledger, task, flow_id, count, http))
        ask = partial(_list, ledger, flow_ids, channel, metadata)
        await _wait_ended(ledger, task.patience_s, ask)
        tail.cancel()
    return judge(ledger)


async def _apply(flow_ids: Sequence[str], channel: Any, metadata: Metadata) -> None:
    files = [
        flow_pb2.FlowFile(
            file_name=f"{flow_id}.yaml", content=FLOW.format(flow_id=flow_id).encode()
        )
        for flow_id in flow_ids
    ]
    answer = await flow_pb2_grpc.FlowServiceStub(channel).ApplyFlows(
        flow_pb2.ApplyFlowsRequest(files=files), metadata=metadata, timeout=TIMEOUT_S
    )
    for mistake in answer.mistakes:
        raise Error(f"the scratch flow {mistake.file_name} is refused: {mistake.text}")


async def _tail(ledger: Ledger, channel: Any, metadata: Metadata) -> None:
    """Follow events and their ends; where that breaks, go on from then on."""
    stub = execution_pb2_grpc.ExecutionServiceStub(channel)
    while True:
        with suppress(grpc.aio.AioRpcError):
            stream = stub.TailEvents(
                execution_pb2.TailEventsRequest(), metadata=metadata
            )
            async for answer in stream:
                if answer.event.flow_id.startswith(PREFIX):
                    ledger.take(answer.event)
        await asyncio.sleep(LOOK_S)


async def _list(
    ledger: Ledger, flow_ids: Sequence[str], channel: Any, metadata: Metadata
) -> None:
    """Ask for what was told while nobody listened."""
    stub = execution_pb2_grpc.ExecutionServiceStub(channel)
    for flow_id in flow_ids:
        answer = await stub.ListEvents(
            execution_pb2.ListEventsRequest(flow_id=flow_id, limit=1000),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )
        for summary in answer.events:
            ledger.take(summary)


async def _wait_tailed(
    ledger: Ledger, url: str, flow_id: str, http: GuardedClient
) -> None:
    """Send until one event was seen: from then on nothing is missed."""
    async with asyncio.timeout(TIMEOUT_S):
        while not ledger.tailed:
            with suppress(StepError):
                await http.send(_request(url, flow_id, -1))
            await asyncio.sleep(LOOK_S)


async def _wait_ended(
    ledger: Ledger, patience_s: float, ask: Callable[[], Awaitable[None]]
) -> None:
    """Return when all have ended, or none has for so long; asks where nothing is told."""
    loop = asyncio.get_running_loop()
    ends, since, quiet_since = ledger.ends, loop.time(), loop.time()
    while ledger.missing and loop.time() - since < patience_s:
        await asyncio.sleep(LOOK_S)
        if loop.time() - quiet_since > QUIET_S:
            with suppress(grpc.aio.AioRpcError):
                await ask()
            quiet_since = loop.time()
        if ledger.ends != ends:
            ends, since, quiet_since = ledger.ends, loop.time(), loop.time()


async def _send(
    ledger: Ledger, task: Task, flow_id: str, count: int, http: GuardedClient
) -> None:
    """One flow's events, one after another, at its share of the rate."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number in range(count):
        due = max(due + task.flows / task.a_second, loop.time())
        await asyncio.sleep(due - loop.time())
        begun = loop.time()
        ledger.sent += 1
        try:
            response = await http.send(_request(task.url, flow_id, number))
        except StepError:
            ledger.unknown += 1
            continue
        if response.status in ACCEPTED:
            event_id = response.headers["x-event-id"]
            ledger.accept(Trace(event_id, flow_id, number, loop.time() - begun))
        elif response.status >= 500:  # noqa: PLR2004 - the border of HTTP's server errors
            ledger.unknown += 1
        else:
            ledger.refused += 1


def _request(url: str, flow_id: str, number: int) -> OutgoingRequest:
    return OutgoingRequest(
        "POST",
        f"{url.rstrip('/')}/hook/{flow_id}",
        {"content-type": "application/json"},
        msgspec.json.encode({"number": number}),
        TIMEOUT_S,
    )
