"""Stop 3: finds the flow, has the sender verified, and appends the event to the log.

The checks come in this order: source, flow, state, method, declared size, header-level
credential, rate, body, credential over the raw bytes, content type and parse, append. Of
a body that is here already the rate comes after the whole credential, so that who has none
takes nothing of it. A request is accepted when, and only when, its append has returned.
"""

import time
from asyncio import Future, shield
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from hookline import bodies
from hookline.bodies_thread import in_thread, in_thread_soon
from hookline.body_store import BodyStore
from hookline.errors import (
    Conflict,
    Error,
    Malformed,
    NotAppended,
    Overloaded,
    Rejected,
    Unavailable,
)
from hookline.failpoints import failpoint
from hookline.log import Log
from hookline.metrics import Metrics
from hookline.topics import Topics
from hookline.v1 import event_pb2
from services.router.admitting import Admitting
from services.router.appending import Appending, Taken
from services.router.guards import Verifies
from services.router.opening import Opened, open_body, open_head, open_published
from services.router.options import WITHOUT_EVENT
from services.router.rates import Quota
from services.router.refusing import Refusing
from services.router.registry import Registry, ServedFlow
from services.router.remembered import OTHER_BODY, Repeats
from services.router.replies import header
from services.router.sources import Sources
from services.router.unread import Passing
from services.router.uploads import UNBOUNDED, Arriving, Hold, Read, Uploads

DUPLICATE = header("x-duplicate", "true")
REFUSED = (Rejected, Overloaded, Unavailable)


class Unsure(NamedTuple):
    """A request for a flow that is not known here, where others apply flows, too.

    Or one that is refused as if there were no such flow, and after as long. Or one whose
    body is being read in a thread: `go_on` appends it with what comes of that.
    """

    request: event_pb2.Request
    caught_up: Future[Any]
    refusal: Error | None = None
    go_on: Callable[[Opened], Taken] | None = None


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
        sources: Sources | None = None,
        body_store: BodyStore | None = None,
    ) -> None:
        self._catch_up = catch_up
        self._registry = registry
        self.metrics = metrics
        self._append = Appending(log, topics.events, metrics)
        self._admitting = Admitting(registry, sources)
        self._refusing = Refusing(registry, log, topics, metrics)
        self.reject = self._refusing.reject
        self._uploads = Uploads(body_store, topics.events)

    async def receive(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """Judge a request whose body is here. Never raises."""
        verdict = self.take(request)
        if isinstance(verdict, Unsure):
            with suppress(*REFUSED):
                # Others wait for it, too: one that leaves takes it along otherwise.
                await shield(verdict.caught_up)
            verdict = self.take_again(verdict)
        if not isinstance(verdict, Taken):
            return verdict
        with suppress(*REFUSED):
            await verdict.position
        return self.settle(verdict)

    def take(self, request: event_pb2.Request) -> event_pb2.Outcome | Taken | Unsure:
        """Judge a request, and append its event where it passes; waits for nothing.

        Whoever gets a `Taken` asks `settle` when its position is done, with an `Unsure`
        `take_again` when it has caught up.
        """
        if self._catch_up is not None and not self._registry.has(request.flow_id):
            return Unsure(request, self._catch_up())
        try:
            return self._take(request)
        except REFUSED as error:
            if self._catch_up is not None and self._refusing.hides(request, error):
                return Unsure(request, self._catch_up(), error)
            return self.reject(request, error)

    def take_again(self, unsure: Unsure) -> event_pb2.Outcome | Taken:
        """Judge a request with all that is known anywhere."""
        try:
            if error := unsure.caught_up.exception() or unsure.refusal:
                raise error
            if unsure.go_on is not None:
                return unsure.go_on(unsure.caught_up.result())
            return self._take_here(unsure.request)
        except REFUSED as refusal:
            return self.reject(unsure.request, refusal)

    def _take(self, request: event_pb2.Request) -> event_pb2.Outcome | Taken | Unsure:
        """Judge and append. Raises Rejected, Overloaded or Unavailable."""
        source = self._admitting.take_from_source(request, len(request.body))
        if request.method in WITHOUT_EVENT:
            return self._admitting.describe(request)
        served = self._admitting.let_in(request)
        try:
            opened = open_body(served, request, decodes=False)
        except bodies.Coded:
            reading = in_thread_soon(open_body, served, request, decodes=True)
            go_on = partial(self._append_opened, served, request, source)
            return Unsure(request, reading, None, go_on)
        return self._append_opened(served, request, source, opened)

    def _take_here(self, request: event_pb2.Request) -> event_pb2.Outcome | Taken:
        """The same where a flow was not known at first: even codings come off here."""
        source = self._admitting.take_from_source(request, len(request.body))
        if request.method in WITHOUT_EVENT:
            return self._admitting.describe(request)
        served = self._admitting.let_in(request)
        opened = open_body(served, request, decodes=True)
        return self._append_opened(served, request, source, opened)

    def _append_opened(
        self,
        served: ServedFlow,
        request: event_pb2.Request,
        source: Quota | None,
        opened: Opened,
    ) -> Taken:
        if opened.events is not None:
            return self._append.batch(served, request, opened.events, source)
        return self._append.one(served, request, source, opened)

    def settle(self, taken: Taken) -> event_pb2.Outcome:
        """What a request whose append has ended comes to. Raises faults of the log."""
        self.metrics.append_duration.observe(time.perf_counter() - taken.begun)
        error = taken.position.exception()
        if isinstance(error, REFUSED):
            return self.reject(taken, error)
        if error is not None:
            raise error
        failpoint("router.after_append_before_answer")
        if taken.repeats is Repeats.OTHER_BODY:
            return self.reject(taken, Conflict(OTHER_BODY))
        self._count(taken)
        outcome = event_pb2.Outcome(request_id=taken.request_id)
        accepted = outcome.accepted
        accepted.event_id = taken.event_id
        if taken.reply is not None:
            accepted.reply.CopyFrom(taken.reply)
        if taken.headers:
            accepted.headers.extend(taken.headers)
        if taken.repeats:
            accepted.headers.append(DUPLICATE)
        return outcome

    async def upload(
        self,
        head: event_pb2.Request,
        declared_size: int | None,
        read: Read,
        hold: Hold = UNBOUNDED,
    ) -> event_pb2.Outcome:
        """Judge a request from its head, and read its body only if the head may pass.

        What `read` and `hold` raise of Rejected and Unavailable becomes the verdict. A
        body that ends within 256 KiB is judged as one that was here from the beginning.
        """
        body: Arriving | None = None
        passing = Passing(read, declared_size)
        try:
            await self._know(head.flow_id)
            self._admitting.check_source(head, declared_size or 0)
            if head.method not in WITHOUT_EVENT:
                served, verifier = self._admitting.let_head_in(head, declared_size or 0)
                self._uploads.check_size(declared_size or 0)
                body = Arriving(passing.read, hold, served.max_body, declared_size)
                await self._uploads.reserve(head, served, verifier, body)
                if not await body.gather():
                    return await self._keep(head, served, verifier, body)
                head.body = body.gathered
        except REFUSED as error:
            if body is not None:
                body.leave_beginning(head)
            if most := self._registry.reads_on(head.flow_id, error):
                await passing.drop(head, most)
            return await self._refuse_upload(head, error)
        return await self.receive(head)

    async def _refuse_upload(
        self, head: event_pb2.Request, error: Error
    ) -> event_pb2.Outcome:
        if self._catch_up is not None and self._refusing.hides(head, error):
            with suppress(Unavailable):
                await shield(self._catch_up())
        return self.reject(head, error)

    async def _keep(
        self,
        head: event_pb2.Request,
        served: ServedFlow,
        verifier: Verifies,
        body: Arriving,
    ) -> event_pb2.Outcome:
        """Take a request whose body is too large for the log. Raises as `upload` says."""
        stored = await self._uploads.keep(head, served, verifier, body)
        try:
            source = self._admitting.take_from_source(head, body.size)
            if served.quota is not None:
                served.quota.take(body.size)
        except Overloaded:
            if isinstance(stored, event_pb2.StoredBody):
                await self._uploads.delete(stored)
            raise
        if isinstance(stored, tuple):
            taken = self._append.batch(served, head, stored, source)
            with suppress(*REFUSED):
                await taken.position
            return self.settle(taken)
        head.stored_body.CopyFrom(stored)
        taken = self._append.one(served, head, source, open_head(served, head))
        with suppress(*REFUSED):
            await taken.position
        failure = taken.position.exception()
        if taken.repeats or isinstance(failure, Rejected | NotAppended):
            # Otherwise it may be in the log, and then its body must stay.
            await self._uploads.delete(stored)
        return self.settle(taken)

    async def publish(self, request: event_pb2.Request, key: str = "") -> Taken:
        """Take a message of an internal service, with its key if it has one.

        Raises Rejected or Unavailable.
        """
        await self._know(request.flow_id)
        served = self._admitting.served(request.flow_id)
        self._admitting.check_size(served, len(request.body))
        raw, limit = served.raw, served.max_body
        if await bodies.check_anywhere(request, raw=raw, limit=limit) is not None:
            raise Malformed("This is a batch: publish its events one by one.")
        if bodies.is_coded(request):
            opened = await in_thread(open_published, served, request, key)
        else:
            # Without waiting: what is published together is appended in its order.
            opened = open_published(served, request, key)
        taken = self._append.one(served, request, None, opened)
        await taken.position
        self.metrics.append_duration.observe(time.perf_counter() - taken.begun)
        if taken.repeats is Repeats.OTHER_BODY:
            raise Conflict(OTHER_BODY)
        self._count(taken)
        return taken

    async def _know(self, flow_id: str) -> None:
        if self._catch_up is not None and not self._registry.has(flow_id):
            await shield(self._catch_up())

    def _count(self, taken: Taken) -> None:
        if taken.repeats:
            self.metrics.duplicates.inc()
        if taken.events:
            self.metrics.accepted.inc(taken.events)
            self.metrics.body_bytes.inc(taken.body_bytes)
