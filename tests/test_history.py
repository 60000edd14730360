"""Events and what became of them, read back from the log."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp  # the tests' own client
import grpc
import pytest

from hookline.v1 import execution_pb2, execution_pb2_grpc
from tests.instance import Instance, running

FLOW = """
id: {id}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
KEYED = """
id: keyed
trigger: {webhook: {auth: {type: api_key, value: "${secret:KEY}"}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
FLOWS = [f"flow-{number}" for number in range(12)]


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    flows = [FLOW.format(id=flow_id) for flow_id in FLOWS]
    async with running(tmp_path, *flows) as instance:
        yield instance


async def sent(hookline: Instance, flow_id: str, count: int) -> list[str]:
    """Send so many events, one after another; gives their ids when all have ended."""
    ids = []
    for number in range(count):
        answer = await hookline.send(flow_id, b"%d" % number)
        ids.append(answer.headers["x-event-id"])
    for event_id in ids:
        await hookline.ends.wait(event_id)
    return ids


async def listed(
    hookline: Instance, flow_id: str = "", limit: int = 0
) -> list[execution_pb2.EventSummary]:
    stub = execution_pb2_grpc.ExecutionServiceStub(hookline.channel)
    request = execution_pb2.ListEventsRequest(flow_id=flow_id, limit=limit)
    return list((await stub.ListEvents(request, metadata=hookline.metadata)).events)


async def test_the_newest_events_of_all_flows_come_first(hookline: Instance) -> None:
    """From all partitions, in the order of their acceptance, newest first."""
    ids = [await sent(hookline, flow_id, 1) for flow_id in FLOWS]

    found = await listed(hookline, limit=10)

    assert [one.event_id for one in found] == [one for [one] in reversed(ids)][:10]


async def test_one_flows_events_are_found_among_many_others(hookline: Instance) -> None:
    """Also where they are far behind."""
    [first] = await sent(hookline, "flow-0", 1)
    await asyncio.gather(*(sent(hookline, flow_id, 100) for flow_id in FLOWS[1:]))

    [found] = await listed(hookline, "flow-0")

    assert found.event_id == first
    assert found.status == execution_pb2.STATUS_COMPLETED


async def test_every_event_is_found_by_its_id(hookline: Instance) -> None:
    """By bisection on the time that the id holds."""
    ids = await asyncio.gather(*(sent(hookline, flow_id, 40) for flow_id in FLOWS))
    stub = execution_pb2_grpc.ExecutionServiceStub(hookline.channel)

    for event_id in [one[0] for one in ids] + [one[20] for one in ids]:
        request = execution_pb2.GetEventRequest(event_id=event_id)
        answer = await stub.GetEvent(request, metadata=hookline.metadata)
        assert answer.event.id == event_id
        assert answer.summary.status == execution_pb2.STATUS_COMPLETED


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "x",
        "00000000-0000-0000-0000-000000000000",
        "01a20d0b-8fac-753b-a459-6bbb82803389",
    ],
)
async def test_an_event_that_is_not_there_is_not_found(
    hookline: Instance, event_id: str
) -> None:
    """Whatever the id."""
    stub = execution_pb2_grpc.ExecutionServiceStub(hookline.channel)
    request = execution_pb2.GetEventRequest(event_id=event_id)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetEvent(request, metadata=hookline.metadata)

    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_flow_whose_secret_is_gone_holds_its_events_until_it_is_back(
    tmp_path: Path,
) -> None:
    """Senders get 503 meanwhile; what was accepted before waits, and runs after."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "KEY").write_text("k\n")
    environment = {"HOOKLINE_SECRETS_DIR": str(secrets)}
    key = [("Content-Type", "application/json"), ("x-api-key", "k")]
    async with running(
        tmp_path, KEYED, environment=environment, executor=False
    ) as hookline:
        accepted = await hookline.send("keyed", b"1", key)
    (secrets / "KEY").unlink()
    async with running(tmp_path, environment=environment) as hookline:
        refused = await hookline.send("keyed", b"2", key)
        assert not hookline.ends.by_event
        (secrets / "KEY").write_text("k\n")
        result = await hookline.result(accepted)
        hookline.hosted.directory.reload_inactive()
        again = await hookline.send("keyed", b"3", key)

    assert (accepted.status, refused.status, again.status) == (200, 503, 200)
    assert result == 1


async def test_the_admin_port_tells_health_version_and_metrics(
    hookline: Instance,
) -> None:
    """And the public port tells none of it."""
    await sent(hookline, "flow-0", 3)
    async with aiohttp.ClientSession() as client:  # noqa: TID251 - a scraper, here
        base = f"http://{hookline.hosted.admin}"
        for path in ("/livez", "/readyz", "/version"):
            async with client.get(base + path) as answer:
                assert answer.status == 200
        async with client.get(f"{base}/metrics") as answer:
            metrics = await answer.text()
        async with client.get(f"http://{hookline.hosted.http}/metrics") as answer:
            assert answer.status == 404

    assert 'hookline_requests_total{verdict="accepted"} 3.0' in metrics
    assert 'hookline_executions_total{status="completed"} 3.0' in metrics
