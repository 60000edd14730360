"""Stop 2 for one large body: its head first, the body once the router wants it."""

import asyncio
from typing import Any, Final

import grpc

from hookline.errors import Unavailable
from hookline.v1 import event_pb2, router_pb2
from services.ingress.app import ReadBody
from services.ingress.byte_bound import Count
from services.ingress.router_stream import LOST, RouterStream

PIECE_BYTES: Final = 256 * 1024


async def upload(
    stream: RouterStream,
    head: router_pb2.UploadHead,
    read_body: ReadBody,
    *,
    count: Count,
    deadline_s: float,
) -> event_pb2.Outcome:
    """Ask a router. Raises what `read_body` raises, and Unavailable.

    The deadline is for each of the router's two answers; a body has its own.
    """
    with stream.uploading() as call:
        try:
            async with asyncio.timeout(deadline_s):
                await call.write(router_pb2.UploadRequest(head=head))
                first = await call.read()
            if first is grpc.aio.EOF or first.HasField("outcome"):
                return _outcome(first)
            body = await read_body(first.go_on, count)
            async with asyncio.timeout(deadline_s):
                return await _send(call, body)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
            raise Unavailable(LOST) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this task was cancelled, but the call: its connection was closed.
            raise Unavailable(LOST) from error


async def _send(call: Any, body: bytes) -> event_pb2.Outcome:
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        await call.write(router_pb2.UploadRequest(chunk=piece))
    await call.write(router_pb2.UploadRequest(end=True))
    return _outcome(await call.read())


def _outcome(response: Any) -> event_pb2.Outcome:
    if response is grpc.aio.EOF or not response.HasField("outcome"):
        raise Unavailable(LOST)
    outcome: event_pb2.Outcome = response.outcome
    return outcome
