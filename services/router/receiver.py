"""Stop 3: finds the flow, has the sender verified, and appends the event to the log.

The checks come in this order: flow, state, method, declared size, header-level
credential, body, credential over the raw bytes, content type and parse, append. A
request is accepted when, and only when, its append has returned.
"""

import time
from asyncio import Future, gather, shield
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from hookline import bodies
from hookline.body_store import BodyStore
from hookline.errors import (
    Error,
    MethodNotAllowed,
    Rejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownFlow,
)
from hookline.event import EventId, new_event_id
from hookline.log import Log
from hookline.outcomes import reason_of, rejection
from hookline.telemetry import Metrics, Sampled, get_logger
from hookline.topics import Topics
from hookline.v1 import event_pb2
from services.router.batches import reply_of, requests_of
from services.router.registry import Registry, ServedFlow
from services.router.uploads import Arriving, Hold, Read, Uploads, unbounded
from services.router.verifiers import Verifier

logger = get_logger(__name__)
REASON_NAMES = {
    number: name.removeprefix("REASON_").lower()
    for name, number in event_pb2.Reason.items()
}


class Asked(Protocol):
    """What is told of a request."""

    @property
    def request_id(self) -> str:
        """Its own id."""
        ...

    @property
    def flow_id(self) -> str:
        """The flow it names."""
        ...


class Taken(NamedTuple):
    """A request that has passed: its append is under way, and its bytes are the log's.

    The request itself is let go: what waits for the log is held once. Of a batch
    `position` is done when all `events` have theirs, and `event_id` is the first one's.
    """

    request_id: str
    flow_id: str
    body_bytes: int
    event_id: EventId
    reply: event_pb2.Reply | None
    position: Future[Any]
    begun: float
    events: int = 1


class Unsure(NamedTuple):
    """A request for a flow that is not known here, where others apply flows, too."""

    request: event_pb2.Request
    caught_up: Future[None]


CatchUp = Callable[[], Future[None]]


class Receiver:
    """The router's answer to requests; the edge calls it directly or over gRPC.

    With `catch_up`, no flow is unknown before what other routers have applied is read.
    """

    def __init__(
        self,
        registry: Registry,
        log: Log,
        topics: Topics,
        metrics: Metrics,
        catch_up: CatchUp | None = None,
        *,
        body_store: BodyStore | None = None,
    ) -> None:
        self._catch_up = catch_up
        self._registry = registry
        self._log = log
        self._events = topics.events
        self.metrics = metrics
        self._rejections = Sampled(logger)
        self._uploads = Uploads(body_store, topics.events)

    async def receive(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """Judge a request whose body is here. Never raises."""
        verdict = self.take(request)
        if isinstance(verdict, Unsure):
            with suppress(Unavailable):
                # Others wait for it, too: one that leaves takes it along otherwise.
                await shield(verdict.caught_up)
            verdict = self.take_again(verdict)
        if not isinstance(verdict, Taken):
            return verdict
        with suppress(Rejected, Unavailable):
            await verdict.position
        return self.settle(verdict)

    def take(self, request: event_pb2.Request) -> event_pb2.Outcome | Taken | Unsure:
        """Judge a request, and append its event where it passes; waits for nothing.

        Whoever gets a `Taken` asks `settle` when its position is done, with an `Unsure`
        `take_again` when it has caught up.
        """
        if self._catch_up is not None and not self._registry.has(request.flow_id):
            return Unsure(request, self._catch_up())
        return self._take(request)

    def take_again(self, unsure: Unsure) -> event_pb2.Outcome | Taken:
        """Judge a request with all that is known anywhere."""
        if (error := unsure.caught_up.exception()) is None:
            return self._take(unsure.request)
        if isinstance(error, Unavailable):
            return self.reject(unsure.request, error)
        raise error

    def _take(self, request: event_pb2.Request) -> event_pb2.Outcome | Taken:
        try:
            if request.method in ("HEAD", "OPTIONS"):
                return self._describe(request)
            served, verifier = self._admit(request, len(request.body))
            verifier.verify(request)
            events = bodies.check(request, raw=served.raw, limit=served.max_body)
        except (Rejected, Unavailable) as error:
            return self.reject(request, error)
        if events is not None:
            return self._append_batch(served, request, events)
        return self._append(served, request)

    def settle(self, taken: Taken) -> event_pb2.Outcome:
        """What a request whose append has ended comes to. Raises faults of the log."""
        self.metrics.append_duration.observe(time.perf_counter() - taken.begun)
        error = taken.position.exception()
        if isinstance(error, Rejected | Unavailable):
            return self.reject(taken, error)
        if error is not None:
            raise error
        self._count(taken)
        accepted = event_pb2.Accepted(event_id=taken.event_id, reply=taken.reply)
        return event_pb2.Outcome(request_id=taken.request_id, accepted=accepted)

    async def upload(
        self,
        head: event_pb2.Request,
        declared_size: int | None,
        read: Read,
        hold: Hold = unbounded,
    ) -> event_pb2.Outcome:
        """Judge a request from its head, and read its body only if the head may pass.

        What `read` and `hold` raise of Rejected and Unavailable becomes the verdict. A
        body that ends within 256 KiB is judged as one that was here from the beginning.
        """
        try:
            await self._know(head.flow_id)
            if head.method not in ("HEAD", "OPTIONS"):
                served, verifier = self._admit(head, declared_size or 0)
                verifier.verify_head(head)
                self._uploads.check_size(declared_size or 0)
                body = Arriving(read, hold, served.max_body)
                if not await body.gather():
                    return await self._keep(head, served, verifier, body)
                head.body = body.gathered
        except (Rejected, Unavailable) as error:
            return self.reject(head, error)
        return await self.receive(head)

    async def _keep(
        self,
        head: event_pb2.Request,
        served: ServedFlow,
        verifier: Verifier,
        body: Arriving,
    ) -> event_pb2.Outcome:
        """Take a request whose body is too large for the log. Raises as `upload` says."""
        stored = await self._uploads.keep(head, served, verifier, body)
        if isinstance(stored, tuple):
            taken = self._append_batch(served, head, stored)
            with suppress(Rejected, Unavailable):
                await taken.position
            return self.settle(taken)
        head.stored_body.CopyFrom(stored)
        taken = self._append(served, head)
        with suppress(Rejected, Unavailable):
            await taken.position
        if isinstance(taken.position.exception(), Rejected):
            # Otherwise it may be in the log, and then its body must stay.
            await self._uploads.delete(stored)
        return self.settle(taken)

    async def publish(self, request: event_pb2.Request) -> EventId:
        """Take a message of an internal service. Raises Rejected or Unavailable."""
        await self._know(request.flow_id)
        served = self._served(request.flow_id)
        self._check_size(served, len(request.body))
        bodies.check(request, raw=served.raw, limit=served.max_body)
        taken = self._append(served, request)
        await taken.position
        self.metrics.append_duration.observe(time.perf_counter() - taken.begun)
        self._count(taken)
        return taken.event_id

    async def _know(self, flow_id: str) -> None:
        if self._catch_up is not None and not self._registry.has(flow_id):
            await shield(self._catch_up())

    def _served(self, flow_id: str) -> ServedFlow:
        served = self._registry.get(flow_id)
        if served is None:
            raise UnknownFlow(
                "There is no flow with this id: check the URL, or apply the flow."
            )
        return served

    def _admit(
        self, request: event_pb2.Request, size: int
    ) -> tuple[ServedFlow, Verifier]:
        served = self._served(request.flow_id)
        if served.verifier is None:
            raise Unavailable(
                "The flow is inactive: it lacks secrets. Try again later."
            )
        methods = served.methods
        if request.method not in methods:
            raise MethodNotAllowed(f"Send {' or '.join(methods)}.", methods)
        self._check_size(served, size)
        return served, served.verifier

    def _check_size(self, served: ServedFlow, size: int) -> None:
        limit = served.max_body
        if size > limit:
            raise TooLarge(f"This flow takes bodies of at most {limit} bytes.")

    def _append(self, served: ServedFlow, request: event_pb2.Request) -> Taken:
        event_id = new_event_id()
        event = event_pb2.Event(
            id=event_id,
            flow_id=request.flow_id,
            flow_version=served.version,
            accepted_at_us=time.time_ns() // 1000,
            request=request,
        )
        begun = time.perf_counter()
        position = self._log.append(
            self._events, request.flow_id.encode(), event.SerializeToString()
        )
        return Taken(
            request.request_id,
            request.flow_id,
            len(request.body) or request.stored_body.size,
            event_id,
            served.reply,
            position,
            begun,
        )

    def _append_batch(
        self, served: ServedFlow, request: event_pb2.Request, events: tuple[bytes, ...]
    ) -> Taken:
        begun = time.perf_counter()
        each = [self._append(served, one) for one in requests_of(request, events)]
        ids = [one.event_id for one in each]
        return Taken(
            request.request_id,
            request.flow_id,
            len(request.body),
            ids[0] if ids else EventId(""),
            served.reply or reply_of(request.request_id, ids),
            gather(*(one.position for one in each)),
            begun,
            len(each),
        )

    def _count(self, taken: Taken) -> None:
        self.metrics.accepted.inc(taken.events)
        self.metrics.body_bytes.inc(taken.body_bytes)

    def _describe(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """HEAD and OPTIONS: whether the flow takes requests, and which methods."""
        served = self._served(request.flow_id)
        allow = ", ".join((*served.methods, "HEAD", "OPTIONS"))
        reply = event_pb2.Reply(
            status=200 if request.method == "HEAD" else 204,
            headers=[event_pb2.Header(name=b"Allow", value=allow.encode())],
        )
        return event_pb2.Outcome(
            request_id=request.request_id, accepted=event_pb2.Accepted(reply=reply)
        )

    def reject(self, request: Asked, error: Error) -> event_pb2.Outcome:
        """Refuse a request; counted, and told in a line."""
        reason = REASON_NAMES[reason_of(error)]
        self.metrics.rejected(reason)
        cause = error.cause if isinstance(error, Unauthenticated) else str(error)
        self._rejections.line(
            "event.rejected",
            flow_id=request.flow_id,
            request_id=request.request_id,
            reason=reason,
            cause=cause,
        )
        return rejection(request.request_id, error)
