"""Stop 5, the router's half: what has passed becomes an event, and waits for the log.

What has an idempotency key that this router remembers becomes none: it shares the outcome
of the request that it repeats.
"""

import time
from asyncio import Future, gather, get_running_loop
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hookline.errors import Conflict, NotAppended, Unavailable
from hookline.event import EventId, Trigger, new_event_id
from hookline.failpoints import failpoint
from hookline.log import Log, Position, Topic
from hookline.metrics import Metrics
from hookline.v1 import event_pb2
from services.router.batches import reply_of, requests_of
from services.router.event_records import record_of
from services.router.keys import Key
from services.router.opening import Opened
from services.router.rates import Quota
from services.router.registry import ServedFlow, headers_of
from services.router.remembered import (
    OTHER_BODY,
    RememberedKeys,
    Repeats,
    follow,
)

NO_ROOM: Final = "The log has no room for a batch of this size now: try again later."
UNDER_WAY: Final = (
    "An event with the same id and another body is being appended: try again later."
)


class Taken(NamedTuple):
    """A request that has passed: its append is under way, and its bytes are the log's.

    The request itself is let go: what waits for the log is held once. Of a batch
    `position` is done when all `events` have theirs, and `event_id` is the first one's.
    `headers` are those of the answer besides its reply's. `repeats` tells of one that is a
    repeat: then `events` is 0, and `position` is that of the event that it repeats.
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
    repeats: Repeats | None = None


class Appending:
    """Appends to the events of a log."""

    def __init__(self, log: Log, events: Topic, metrics: Metrics) -> None:
        self._log = log
        self._events = events
        self._metrics = metrics
        self._keys = RememberedKeys()

    def one(
        self,
        served: ServedFlow,
        request: event_pb2.Request,
        source: Quota | None,
        opened: Opened,
    ) -> Taken:
        """Append a request, unless it repeats one that is remembered."""
        key = opened.key
        event_id = key.event_id if key else new_event_id()
        # Before the append: the answer is there when the event is durable.
        reply = self._reply(served, event_id, request, opened.trigger)
        begun = time.perf_counter()
        repeats: Repeats | None = None
        position: Future[Any]
        if key is None:
            record = record_of(served, request, event_id, opened.serialized)
            position = self._append(served, record, source)
        else:
            serialized = opened.serialized
            repeats, position = self._keyed(served, request, serialized, key, source)
        return Taken(
            request.request_id,
            request.flow_id,
            len(request.body) or request.stored_body.size,
            event_id,
            reply,
            position,
            begun,
            0 if repeats else 1,
            headers_of(served, request),
            repeats,
        )

    def _keyed(
        self,
        served: ServedFlow,
        request: event_pb2.Request,
        serialized: bytes,
        key: Key,
        source: Quota | None,
    ) -> tuple[Repeats | None, Future[Any]]:
        """What it repeats, if anything; and when that, or the event itself, is durable."""
        if known := self._keys.find(key):
            return known.repeats, follow(known.position)
        now_us = time.time_ns() // 1000
        record = record_of(
            served, request, key.event_id, serialized, key=key, now_us=now_us
        )
        position = self._append(served, record, source)
        self._keys.begin(key, now_us, position)
        return None, follow(position)

    def batch(
        self,
        served: ServedFlow,
        request: event_pb2.Request,
        elements: Sequence[bytes],
        source: Quota | None = None,
    ) -> Taken:
        """Append the elements of a batch, each as an event, but those that are repeats.

        Raises TooLarge, Conflict, and NotAppended where the log has no room for all of
        them: of a batch that is sent again, no event is to be there from before.
        """
        sorted_out = self._sort_out(served, request, elements)
        first = sorted_out.ids[0] if sorted_out.ids else EventId("")
        reply = self._reply(served, first, request, None)
        begun = time.perf_counter()
        records = sorted_out.records
        if not self._log.has_room(len(records), sum(len(one) for one, _, _ in records)):
            raise NotAppended(NO_ROOM)
        positions: list[Future[Any]] = list(sorted_out.before)
        for record, key, now_us in records:
            position = self._append(served, record, source)
            positions.append(follow(position) if key else position)
            if key:
                self._keys.begin(key, now_us, position)
        repeats = Repeats.SAME_BODY if elements and not records else None
        return Taken(
            request.request_id,
            request.flow_id,
            len(request.body),
            first,
            reply or reply_of(request.request_id, sorted_out.ids),
            _all(positions),
            begun,
            len(records),
            headers_of(served, request),
            repeats,
        )

    def _sort_out(
        self,
        served: ServedFlow,
        request: event_pb2.Request,
        elements: Sequence[bytes],
    ) -> "_SortedOut":
        """What of a batch is new. Raises TooLarge, Conflict, Unavailable."""
        found = _SortedOut([], [], [])
        bodies: dict[EventId, bytes] = {}
        for one in requests_of(request, elements):
            key = served.keying.element_key(one, served.max_body)
            event_id = key.event_id if key else new_event_id()
            found.ids.append(event_id)
            if key and self._is_known(key, bodies, found.before):
                continue
            now_us = time.time_ns() // 1000
            serialized = one.SerializeToString()
            record = record_of(
                served, one, event_id, serialized, key=key, now_us=now_us
            )
            found.records.append((record, key, now_us))
        return found

    def _is_known(
        self, key: Key, bodies: dict[EventId, bytes], before: list[Future[Any]]
    ) -> bool:
        """Whether an element is a repeat, of one of its own batch or from before."""
        is_first = key.event_id not in bodies
        body_hash = bodies.setdefault(key.event_id, key.body_hash)
        known = self._keys.find(key)
        if body_hash != key.body_hash or (
            known and known.repeats is Repeats.OTHER_BODY
        ):
            if known and known.position is not None:
                raise Unavailable(UNDER_WAY)
            raise Conflict(f"The event {key.text}: {OTHER_BODY}")
        if known:
            before.append(follow(known.position))
        return known is not None or not is_first

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


class _SortedOut(NamedTuple):
    """A batch: all its ids, what is to be appended, and what its repeats wait for."""

    ids: list[EventId]
    records: list[tuple[bytes, Key | None, int]]
    before: list[Future[Any]]
