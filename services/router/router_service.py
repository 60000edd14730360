"""Stop 2, the router's half: RouterService, the edge's stream and its large bodies.

A request is judged and its append begun as soon as its frame is read; its outcome leaves
when its own append has ended. So a partition without a leader holds nobody else's answer.
When an edge has gone its events stay, and only their outcomes are dropped.
"""

import asyncio
from functools import partial
from typing import Any

import grpc

from hookline.errors import BrokeOff, Unavailable
from hookline.outcomes import rejection
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2, router_pb2, router_pb2_grpc
from services.router.answers import Answers, Context
from services.router.appending import Taken
from services.router.byte_bound import OVERHEAD_BYTES, ByteBound, Share
from services.router.receiver import Receiver, Unsure
from services.router.refusals import Asked
from services.router.upload_bound import MOST_UPLOAD_BYTES, UploadBound

MOST_BYTES_IN_FLIGHT = 48 * 1024 * 1024
FULL = "Too many bytes wait for the log: send the request again later."
FAULT = "Something went wrong here: send the request again later."
BROKE_OFF = "The body broke off: send the request again."
logger = get_logger(__name__)


def add_router(
    receiver: Receiver,
    server: grpc.aio.Server,
    *,
    most_bytes_in_flight: int = MOST_BYTES_IN_FLIGHT,
    most_upload_bytes: int = MOST_UPLOAD_BYTES,
) -> str:
    """Add RouterService to a server; returns its full name."""
    bound = ByteBound(most_bytes_in_flight)
    uploads = UploadBound(most_upload_bytes)
    receiver.metrics.bytes_in_flight.set_function(lambda: bound.taken + uploads.taken)
    servicer = RouterServicer(receiver, bound, uploads)
    router_pb2_grpc.add_RouterServiceServicer_to_server(servicer, server)
    return router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Translates between the edge's frames and the receiver."""

    def __init__(
        self, receiver: Receiver, bound: ByteBound, uploads: UploadBound
    ) -> None:
        self._receiver = receiver
        self._bound = bound
        self._uploads = uploads

    async def Receive(  # type: ignore[override] # grpc.aio takes coroutines too  # noqa: N802 - the method's name in the proto
        self, _requests: Any, context: Context
    ) -> None:
        """Answer one edge until it has sent its last frame and everything is answered."""
        answers = Answers()
        # The edge takes this as the sign that the router is there.
        await context.send_initial_metadata(())
        with self._bound.sharing() as share:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(answers.write(context))
                    stream = _Stream(self._receiver, share, answers)
                    while (frame := await context.read()) is not grpc.aio.EOF:
                        stream.take(frame)
                    answers.end()
            finally:
                answers.close()

    async def Upload(  # type: ignore[override] # grpc.aio takes coroutines too  # noqa: N802 - the method's name in the proto
        self, _requests: Any, context: Context
    ) -> None:
        """Judge a head; where it may pass, take its body and judge the whole."""
        first = await context.read()
        if first is grpc.aio.EOF or not first.HasField("head"):
            text = "Send the head of the request first."
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        head = first.head.request
        declared = first.head.HasField("declared_size")
        size = first.head.declared_size if declared else None
        try:
            with self._uploads.holding(
                head.remote, head.ByteSize() + OVERHEAD_BYTES
            ) as held:
                read = _Arriving(context).read
                outcome = await self._receiver.upload(head, size, read, held)
        except Unavailable as error:
            outcome = self._receiver.reject(head, error)
        # Where it is a refusal the rest of the body is not waited for.
        await context.write(router_pb2.UploadResponse(outcome=outcome))


class _Stream:
    """The requests of one stream, from their frame to their outcome."""

    def __init__(self, receiver: Receiver, share: Share, answers: Answers) -> None:
        self._receiver = receiver
        self._share = share
        self._answers = answers

    def take(self, frame: router_pb2.ReceiveRequest) -> None:
        """Judge a frame's requests and begin their appends, in their order."""
        self._answers.expect(len(frame.requests))
        for numbered in frame.requests:
            self._take(numbered.number, numbered.request)

    def _take(self, number: int, request: event_pb2.Request) -> None:
        size = request.ByteSize() + OVERHEAD_BYTES
        if not self._share.take(size):
            # At once: not to read on would hold everyone's requests back as well.
            full = self._receiver.reject(request, Unavailable(FULL))
            self._answers.put(number, full)
            return
        try:
            verdict = self._receiver.take(request)
        except Exception as error:  # noqa: BLE001 - the others of this stream go on
            verdict = _fault(request, error)
        if isinstance(verdict, Unsure):
            again = partial(self._take_again, number, size, verdict)
            verdict.caught_up.add_done_callback(again)
        else:
            self._pass(number, size, verdict)

    def _take_again(self, number: int, size: int, unsure: Unsure, _: Any) -> None:
        verdict: event_pb2.Outcome | Taken
        try:
            verdict = self._receiver.take_again(unsure)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            verdict = _fault(unsure.request, error)
        self._pass(number, size, verdict)

    def _pass(self, number: int, size: int, verdict: event_pb2.Outcome | Taken) -> None:
        if isinstance(verdict, Taken):
            settle = partial(self._settle, number, size, verdict)
            verdict.position.add_done_callback(settle)
        else:
            self._answer(number, size, verdict)

    def _settle(self, number: int, size: int, taken: Taken, _position: Any) -> None:
        try:
            outcome = self._receiver.settle(taken)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            outcome = _fault(taken, error)
        self._answer(number, size, outcome)

    def _answer(self, number: int, size: int, outcome: event_pb2.Outcome) -> None:
        self._share.give(size)
        self._answers.put(number, outcome)


def _fault(request: Asked, error: BaseException) -> event_pb2.Outcome:
    """The outcome where this process is at fault; the fault is told in a line."""
    logger.error("request.failed", request_id=request.request_id, exc_info=error)
    return rejection(request.request_id, Unavailable(FAULT))


class _Arriving:
    """The body of one call; the edge is told to go on when the first piece is wanted."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._wanted = False

    async def read(self, room: int) -> bytes:
        """The next piece; empty at the end. Raises BrokeOff."""
        if not self._wanted:
            self._wanted = True
            await self._context.write(router_pb2.UploadResponse(go_on=room))
        while (part := await self._context.read()) is not grpc.aio.EOF:
            if part.HasField("end"):
                return b""
            if part.chunk:
                chunk: bytes = part.chunk
                return chunk
        raise BrokeOff(BROKE_OFF)
