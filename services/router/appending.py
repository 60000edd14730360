"""Stop 5, the router's half: what has passed becomes an event, and waits for the log."""

import time
from asyncio import Future, gather, get_running_loop
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hookline.errors import NotAppended
from hookline.event import EventId, Trigger, new_event_id
from hookline.failpoints import failpoint
from hookline.log import Log, Position, Topic
from hookline.metrics import Metrics
from hookline.v1 import event_pb2
from services.router.batches import reply_of, requests_of
from services.router.rates import Quota
from services.router.registry import ServedFlow, headers_of

NO_ROOM: Final = "The log has no room for a batch of this size now: try again later."


class Taken(NamedTuple):
    """A request that has passed: its append is under way, and its bytes are the log's.

    The request itself is let go: what waits for the log is held once. Of a batch
    `position` is done when all `events` have theirs, and `event_id` is the first one's.
    `headers` are those of the answer besides its reply's.
    """

    request_id: str
    flow_id: str
    body_bytes: int
    event_id: EventId
    reply: event_pb2.Reply | None
    position: Future[Any]
    begun: float
    events: int = 1
    headers: tuple[event_pb2.Header, ...] = ()


class Appending:
    """Appends to the events of a log."""

    def __init__(self, log: Log, events: Topic, metrics: Metrics) -> None:
        self._log = log
        self._events = events
        self._metrics = metrics

    def one(
        self,
        served: ServedFlow,
        request: event_pb2.Request,
        source: Quota | None = None,
        trigger: Trigger | None = None,
    ) -> Taken:
        """Append a request; `trigger` is the request as it was parsed, if it was."""
        event_id = new_event_id()
        # Before the append: the answer is there when the event is durable.
        reply = self._reply(served, event_id, request, trigger)
        begun = time.perf_counter()
        return Taken(
            request.request_id,
            request.flow_id,
            len(request.body) or request.stored_body.size,
            event_id,
            reply,
            self._append(served, self._record(served, request, event_id), source),
            begun,
            1,
            headers_of(served, request),
        )

    def batch(
        self,
        served: ServedFlow,
        request: event_pb2.Request,
        elements: Sequence[bytes],
        source: Quota | None = None,
    ) -> Taken:
        """Append the elements of a batch, each as an event.

        Raises TooLarge, and NotAppended where the log has no room for all of them: of a
        batch that is sent again, no event is to be there from before.
        """
        ids = [new_event_id() for _ in elements]
        first = ids[0] if ids else EventId("")
        reply = self._reply(served, first, request, None)
        begun = time.perf_counter()
        records = [
            self._record(served, one, event_id)
            for event_id, one in zip(ids, requests_of(request, elements), strict=True)
        ]
        if not self._log.has_room(len(records), sum(map(len, records))):
            raise NotAppended(NO_ROOM)
        positions = [self._append(served, record, source) for record in records]
        return Taken(
            request.request_id,
            request.flow_id,
            len(request.body),
            first,
            reply or reply_of(request.request_id, ids),
            _all(positions),
            begun,
            len(ids),
            headers_of(served, request),
        )

    def _record(
        self, served: ServedFlow, request: event_pb2.Request, event_id: EventId
    ) -> bytes:
        return event_pb2.Event(
            id=event_id,
            flow_id=request.flow_id,
            flow_version=served.version,
            accepted_at_us=time.time_ns() // 1000,
            request=request,
        ).SerializeToString()

    def _append(
        self, served: ServedFlow, record: bytes, source: Quota | None
    ) -> Future[Position]:
        failpoint("router.before_append")
        position = self._log.append(self._events, served.flow.id.encode(), record)
        failpoint("router.append_in_flight")
        for quota in (served.quota, source):
            if quota is not None:
                quota.enter()
                position.add_done_callback(quota.leave)
        return position

    def _reply(
        self,
        served: ServedFlow,
        event_id: EventId,
        request: event_pb2.Request,
        trigger: Trigger | None,
    ) -> event_pb2.Reply | None:
        if served.computed_reply is None:
            return served.reply
        failed = self._metrics.replies_failed
        return served.computed_reply.reply(event_id, request, trigger, failed)


def _all(positions: Sequence[Future[Position]]) -> Future[None]:
    """Done when all of them are, and not before; with the first failure, if any failed."""
    all_done: Future[None] = get_running_loop().create_future()

    def settle(ended: Future[list[Position | BaseException]]) -> None:
        failures = [one for one in ended.result() if isinstance(one, BaseException)]
        if all_done.done():
            return  # given up by who waited
        if failures:
            all_done.set_exception(failures[0])
        else:
            all_done.set_result(None)

    gather(*positions, return_exceptions=True).add_done_callback(settle)
    return all_done
