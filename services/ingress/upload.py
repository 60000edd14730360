"""Stop 2 for one large body: its head first, the body once the router wants it.

Pieces go as they come, at the router's pace. Its verdict may come before the end of the
body, and the rest is not waited for then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from hookline.errors import Error, Rejected, Unavailable
from hookline.v1 import event_pb2, router_pb2
from services.ingress.router_stream import LOST, RouterStream

PIECE_BYTES: Final = 256 * 1024
# How fast a body store completes what it has taken, at the least.
STORE_BYTES_PER_S: Final = 10_000_000
# The next piece of a body; empty at its end. Raises Rejected and Unavailable.
Next = Callable[[], Awaitable[bytes]]


async def upload(
    stream: RouterStream,
    head: router_pb2.UploadHead,
    next_piece: Next,
    *,
    deadline_s: float,
) -> event_pb2.Outcome:
    """Ask a router. Raises what `next_piece` raises, and Unavailable.

    The deadline is for the router's answer to the head, for each piece that it takes, and
    for its verdict once the body has ended; what is large may take longer to be kept.
    """
    with stream.uploading() as call:
        try:
            async with asyncio.timeout(deadline_s):
                await call.write(router_pb2.UploadRequest(head=head))
                first = await call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
            raise Unavailable(LOST) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this task was cancelled, but the call: its connection was closed.
            raise Unavailable(LOST) from error
        if first is grpc.aio.EOF or first.HasField("outcome"):
            return _outcome(first)
        return await _Sending(call, next_piece, deadline_s).run()


class _Sending:
    """A body on its way to a router that may answer at any moment."""

    def __init__(self, call: Any, next_piece: Next, deadline_s: float) -> None:
        self._call = call
        self._next = next_piece
        self._deadline_s = deadline_s
        self._sent = 0

    async def run(self) -> event_pb2.Outcome:
        """Send it to its end, or to the verdict. Raises as `upload` does."""
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._read())
            sending = tasks.create_task(self._send())
            await asyncio.wait(
                {answering, sending}, return_when=asyncio.FIRST_COMPLETED
            )
            refusal = _refusal(sending)
            if refusal is None:
                patience_s = self._deadline_s + self._sent / STORE_BYTES_PER_S
                await asyncio.wait({answering}, timeout=patience_s)
            answered = answering.done() and not answering.cancelled()
            answering.cancel()
            sending.cancel()
        if answered:
            return _outcome(answering.result())
        raise refusal or Unavailable(LOST)

    async def _send(self) -> Error | None:
        """Send all of it; returns why the edge itself refuses it.

        Where the call takes no more, the router has answered, or is gone.
        """
        try:
            while piece := await self._next():
                for start in range(0, len(piece), PIECE_BYTES):
                    part = piece[start : start + PIECE_BYTES]
                    await self._write(router_pb2.UploadRequest(chunk=part))
                self._sent += len(piece)
            await self._write(router_pb2.UploadRequest(end=True))
        except (Rejected, Unavailable) as error:
            return error
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            return None
        return None

    async def _write(self, message: router_pb2.UploadRequest) -> None:
        async with asyncio.timeout(self._deadline_s):
            await self._call.write(message)

    async def _read(self) -> Any:
        try:
            return await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return grpc.aio.EOF


def _refusal(sending: asyncio.Task[Error | None]) -> Error | None:
    return sending.result() if sending.done() and not sending.cancelled() else None


def _outcome(response: Any) -> event_pb2.Outcome:
    if response is grpc.aio.EOF or not response.HasField("outcome"):
        raise Unavailable(LOST)
    outcome: event_pb2.Outcome = response.outcome
    return outcome
