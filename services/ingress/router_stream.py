"""Stop 2, one router process: a connection, and on it one stream of frames.

What waits goes out together in one frame; while that is being written, more gathers.
Each request is answered when its own outcome comes back. What was written to a stream
that then breaks may be in the log and is not sent again by itself; what was not written
goes to another router.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final, NamedTuple

import grpc

from hookline.errors import Unavailable
from hookline.outcomes import rejection
from hookline.v1 import event_pb2, router_pb2, router_pb2_grpc

# Frames are small enough that both ends work at once: in one frame all that is on its way
# would go back and forth between them, and each would wait for the other.
MOST_REQUESTS: Final = 64
MOST_FRAME_BYTES: Final = 1024 * 1024
CONNECT_S: Final = 5.0
OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # A router that has gone without a word is noticed: it does not answer pings.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
)
LOST = "The router has not answered: send the request again later."
LATE = "The router has not answered in time: send the request again later."


class Waiting:
    """A request on its way; `outcome` is done when it is answered."""

    __slots__ = ("outcome", "request", "since", "size")

    def __init__(
        self,
        request: event_pb2.Request,
        size: int,
        since: float,
        outcome: asyncio.Future[event_pb2.Outcome],
    ) -> None:
        self.request = request
        self.size = size
        self.since = since
        self.outcome = outcome

    def refuse(self, text: str) -> None:
        """Answer with Unavailable what has no answer."""
        if not self.outcome.done():
            error = Unavailable(text)
            self.outcome.set_result(rejection(self.request.request_id, error))


class Ended(NamedTuple):
    """Why a stream has ended."""

    code: grpc.StatusCode
    text: str


class RouterStream:
    """One stream from its connection to its end; takes requests while it is `open`.

    `silent_since` is the moment since which it owes a sign of life: something is asked,
    and nothing was heard.
    """

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self.open = False
        self.silent_since: float | None = None
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._numbers = 0
        self._outbox: dict[int, Waiting] = {}
        self._unanswered: dict[int, Waiting] = {}
        self._uploads = 0
        self._news = asyncio.Event()
        self._leaving = False
        self._patience = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._stub: Any = None

    def put(self, waiting: Waiting) -> None:
        """Send a request with the next frame."""
        self._numbers += 1
        self._outbox[self._numbers] = waiting
        if self.silent_since is None:
            self.silent_since = self._loop.time()
        self._news.set()

    def take_unwritten(self) -> list[Waiting]:
        """Give up what was not written, for another router."""
        unwritten = list(self._outbox.values())
        self._outbox.clear()
        return unwritten

    def refuse_overdue(self, since: float) -> None:
        """Answer what has waited since before then; a late outcome will be dropped."""
        for waiting_by_number in (self._outbox, self._unanswered):
            overdue = [
                number
                for number, waiting in waiting_by_number.items()
                if waiting.since <= since or waiting.outcome.done()
            ]
            for number in overdue:
                waiting_by_number.pop(number).refuse(LATE)

    def refuse_written(self) -> None:
        """Answer what may or may not be in the log: the stream has broken."""
        for waiting in self._unanswered.values():
            waiting.refuse(LOST)
        self._unanswered.clear()

    def give_up(self) -> None:
        """End a stream that owes a sign of life for too long."""
        self._patience.reschedule(self._loop.time())

    @contextmanager
    def uploading(self) -> Iterator[Any]:
        """A call for one large body, on the same connection."""
        call = self._stub.Upload(metadata=self._metadata)
        self._uploads += 1
        try:
            yield call
        finally:
            self._uploads -= 1
            self._news.set()
            call.cancel()

    async def run(self, changed: Callable[[], None]) -> Ended:
        """Connect, and pass requests on until the stream ends.

        `changed` is told when it has opened and when it takes no more.
        """
        target = f"ipv{6 if self.address.startswith('[') else 4}:{self.address}"
        async with grpc.aio.insecure_channel(target, OPTIONS) as channel:
            self._stub = router_pb2_grpc.RouterServiceStub(channel)
            call = self._stub.Receive(metadata=self._metadata)
            try:
                return await self._connected(call, channel, changed)
            finally:
                self.open = False
                changed()
                call.cancel()

    async def _connected(
        self, call: Any, channel: grpc.aio.Channel, changed: Callable[[], None]
    ) -> Ended:
        try:
            async with asyncio.timeout(CONNECT_S):
                # The router's first sign.
                await call.initial_metadata()
        except TimeoutError:
            return Ended(grpc.StatusCode.DEADLINE_EXCEEDED, "it does not answer")
        if call.done():
            return Ended(await call.code(), await call.details())
        self.open = True
        changed()
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write(call))
            watching = tasks.create_task(self._watch(channel, changed))
            try:
                return await self._read(call)
            finally:
                writing.cancel()
                watching.cancel()

    async def _watch(
        self, channel: grpc.aio.Channel, changed: Callable[[], None]
    ) -> None:
        """Send nothing more to a router that says goodbye; what was sent is answered.

        A router that stops says so on the connection (GOAWAY), which takes the channel
        out of its ready state while streams go on.
        """
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        self.open = False
        self._leaving = True
        self._news.set()
        changed()

    async def _write(self, call: Any) -> None:
        # Where the stream breaks, the reader says why.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while not self._is_done():
                if self._outbox:
                    await call.write(self._gather())
                else:
                    self._news.clear()
                    await self._news.wait()
            await call.done_writing()

    def _is_done(self) -> bool:
        return self._leaving and not (self._outbox or self._unanswered or self._uploads)

    def _gather(self) -> router_pb2.ReceiveRequest:
        """What waits, as one frame within its bounds."""
        frame = router_pb2.ReceiveRequest()
        add = frame.requests.add
        room = MOST_FRAME_BYTES
        for number, waiting in islice(self._outbox.items(), MOST_REQUESTS):
            room -= waiting.size
            if room < 0 and frame.requests:
                break
            add(number=number).request.CopyFrom(waiting.request)
            self._unanswered[number] = waiting
        for numbered in frame.requests:
            del self._outbox[numbered.number]
        return frame

    async def _read(self, call: Any) -> Ended:
        try:
            async with self._patience:
                while (frame := await call.read()) is not grpc.aio.EOF:
                    self._answer(frame)
        except TimeoutError:
            return Ended(grpc.StatusCode.DEADLINE_EXCEEDED, "it does not answer")
        except grpc.aio.AioRpcError as error:
            return Ended(error.code(), error.details() or "")
        return Ended(grpc.StatusCode.OK, "it has stopped")

    def _answer(self, frame: router_pb2.ReceiveResponse) -> None:
        unanswered = self._unanswered
        for numbered in frame.outcomes:
            waiting = unanswered.pop(numbered.number, None)
            if waiting is not None and not waiting.outcome.done():
                waiting.outcome.set_result(numbered.outcome)
        asked = unanswered or self._outbox
        self.silent_since = self._loop.time() if asked else None
        if self._leaving:
            self._news.set()
