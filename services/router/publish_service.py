"""PublishService over gRPC: how internal services start a flow."""

import asyncio
import os
import time
from typing import Any

import grpc

from hookline.errors import Rejected, Unavailable
from hookline.v1 import event_pb2, publish_pb2, publish_pb2_grpc
from services.router.appending import Taken
from services.router.outcomes import rpc_status
from services.router.receiver import Receiver

Context = grpc.aio.ServicerContext[Any, Any]


class PublishServicer(publish_pb2_grpc.PublishServiceServicer):
    """Translates between gRPC and the receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def Publish(  # noqa: N802 - the method's name in the proto
        self, request: publish_pb2.PublishRequest, context: Context
    ) -> publish_pb2.PublishResponse:
        """Answer with the event's id once it is durable."""
        try:
            taken = await self._publish(request, context)
        except (Rejected, Unavailable) as error:
            await context.abort_with_status(rpc_status(error))
        duplicate = taken.repeats is not None
        return publish_pb2.PublishResponse(event_id=taken.event_id, duplicate=duplicate)

    async def PublishBatch(  # noqa: N802 - the method's name in the proto
        self, request: publish_pb2.PublishBatchRequest, context: Context
    ) -> publish_pb2.PublishBatchResponse:
        """Append in this order; answer once all are durable."""
        appends = [self._publish(message, context) for message in request.messages]
        # Tasks start in the order in which they are made, and each appends before it
        # first waits: so the batch stands in the log in its own order.
        results = await asyncio.gather(*appends, return_exceptions=True)
        event_ids: list[str] = []
        for number, result in enumerate(results):
            if isinstance(result, Rejected | Unavailable):
                await context.abort_with_status(
                    rpc_status(result, f"message {number}: ")
                )
            if isinstance(result, BaseException):
                raise result
            event_ids.append(result.event_id)
        return publish_pb2.PublishBatchResponse(event_ids=event_ids)

    async def _publish(
        self, message: publish_pb2.PublishRequest, context: Context
    ) -> Taken:
        request = _as_request(message, context)
        return await self._receiver.publish(request, message.idempotency_key)


def _as_request(
    message: publish_pb2.PublishRequest, context: Context
) -> event_pb2.Request:
    request = event_pb2.Request(
        request_id=os.urandom(16).hex(),
        flow_id=message.flow_id,
        method="POST",
        headers=message.headers,
        body=message.body,
        remote=context.peer(),
        received_at_us=time.time_ns() // 1000,
    )
    if message.content_type:
        request.headers.add(name=b"content-type", value=message.content_type.encode())
    return request
