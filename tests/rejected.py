"""Refused requests, from both ends: how they come about, and what is kept of them."""

import asyncio
from collections.abc import Sequence

from hookline.v1 import (
    event_pb2,
    execution_pb2,
    execution_pb2_grpc,
    rejection_pb2,
    rejection_pb2_grpc,
)
from tests.caller import read_answer, request_bytes
from tests.instance import JSON, Instance
from tests.waiting import until_asked

KEYED = """
id: keyed
trigger: {webhook: {auth: {type: api_key, value: "${secret:KEY}"}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
KEPT = """
id: kept
trigger:
  webhook:
    auth: {type: api_key, in: query, value: "${secret:KEY}"}
    keep_rejected: true
    max_body: 2KB
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
SIGNED = """
id: signed
trigger:
  webhook:
    auth:
      {type: hmac, secret: "${secret:KEY}", template: "{ts}.{body}",
       timestamp_header: x-ts}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
WIDE = KEPT.replace("id: kept", "id: wide").replace("max_body: 2KB", "max_body: 1MB")
# Credentials whose names do not give them away.
DOORS = [
    f"""
id: door-{place}
trigger:
  webhook:
    auth: {{type: api_key, in: {place}, {name}: X-Door, value: "${{secret:KEY}}"}}
    keep_rejected: true
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
    for place, name in (("header", "header"), ("query", "parameter"))
]
FLOWS = (KEYED, KEPT, SIGNED, WIDE, *DOORS)
SECRETS = {"HOOKLINE_SECRET_KEY": "right-key"}
Summaries = Sequence[rejection_pb2.RejectionSummary]


def stub_of(hookline: Instance) -> "rejection_pb2_grpc.RejectionServiceAsyncStub":
    return rejection_pb2_grpc.RejectionServiceStub(hookline.channel)


async def listed(
    hookline: Instance,
    flow_id: str = "",
    reason: "event_pb2.Reason.ValueType" = event_pb2.REASON_UNSPECIFIED,
    limit: int = 1000,
) -> Summaries:
    request = rejection_pb2.ListRejectionsRequest(
        flow_id=flow_id, reason=reason, limit=limit
    )
    answer = await stub_of(hookline).ListRejections(request, metadata=hookline.metadata)
    return answer.rejections


async def kept(hookline: Instance, request_id: str) -> rejection_pb2.Rejection:
    """What is kept of a request, once it is there."""

    async def there() -> bool:
        return any(one.request_id == request_id for one in await listed(hookline))

    await until_asked(there)
    [found] = [one for one in await listed(hookline) if one.request_id == request_id]
    return (await got(hookline, found.rejection_id)).rejection


async def got(
    hookline: Instance, rejection_id: str
) -> rejection_pb2.GetRejectionResponse:
    return await stub_of(hookline).GetRejection(
        rejection_pb2.GetRejectionRequest(rejection_id=rejection_id),
        metadata=hookline.metadata,
    )


async def accept(
    hookline: Instance, rejection_id: str
) -> rejection_pb2.AcceptRejectionResponse:
    return await stub_of(hookline).AcceptRejection(
        rejection_pb2.AcceptRejectionRequest(rejection_id=rejection_id),
        metadata=hookline.metadata,
    )


async def event_of(hookline: Instance, event_id: str) -> event_pb2.Event:
    stub = execution_pb2_grpc.ExecutionServiceStub(hookline.channel)
    request = execution_pb2.GetEventRequest(event_id=event_id)
    return (await stub.GetEvent(request, metadata=hookline.metadata)).event


async def refused(
    hookline: Instance, flow_id: str, body: bytes | None = b"{}", **more: object
) -> rejection_pb2.Rejection:
    """Send a request that is refused; gives what is kept of it."""
    answer = await hookline.send(flow_id, body, **more)  # type: ignore[arg-type] # passed on

    assert answer.status >= 400
    return await kept(hookline, answer.headers["x-request-id"])


async def hammered(hookline: Instance, flow_id: str, count: int) -> None:
    """Send so many requests without a credential on one connection."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(count):
        writer.write(request_bytes("POST", f"/hook/{flow_id}", [JSON], b"{}"))
        assert (await read_answer(reader)).status in {401, 429}
    writer.close()
