"""Beside stop 3: a rejected request becomes an event after all, because a person says so.

As if its credential had been right; everything else is judged anew, by the flow as it is
now. Which event it becomes is in the log before the event is: so whoever accepts it again,
after a crash or in another router, names the same event, and appends it unless it is there.
Only where two routers accept it at the same moment, or where an append whose outcome is
unknown comes through after all, can its record be there twice, as any event's can.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import NamedTuple

from hookline import bodies
from hookline.errors import Error, Malformed, MethodNotAllowed, TooLarge, UnknownFlow
from hookline.event import new_event_id
from hookline.log import Log, partition_of
from hookline.log.search import first_since, id_time_ms, records
from hookline.metrics import RouterMetrics
from hookline.telemetry import get_logger
from hookline.topics import Topics
from hookline.v1 import event_pb2, rejection_pb2
from services.router.registry import Registry, ServedFlow
from services.router.rejections_found import SKEW_MS, Found, FoundRejections

logger = get_logger(__name__)


class Acceptance(NamedTuple):
    """The event that a rejection has become; `already` where it was one before."""

    event_id: str
    already: bool


class NotFound(Error):
    """There is no such rejection, or not any more."""


class NotWhole(Error):
    """Not enough of the request was kept to run it."""


@dataclass(frozen=True, slots=True)
class _Judged:
    served: ServedFlow
    request: event_pb2.Request


class AcceptedRejections:
    """Accepts rejections, one at a time."""

    def __init__(
        self,
        registry: Registry,
        log: Log,
        topics: Topics,
        metrics: RouterMetrics,
        found: FoundRejections,
    ) -> None:
        self._registry = registry
        self._log = log
        self._topics = topics
        self._metrics = metrics
        self._found = found
        self._one_at_a_time = asyncio.Lock()

    async def accept(self, rejection_id: str) -> Acceptance:
        """Make an event of a rejection. A repeat names the same event.

        Raises NotFound, NotWhole, what is wrong with the request besides its credential,
        or Unavailable.
        """
        async with self._one_at_a_time:
            found = await self._find(rejection_id)
            if found.accepted:
                return Acceptance(found.event_id, already=True)
            judged = await self._judge(found.rejection)
            event_id, begun_here = await self._begin(found)
            already = not begun_here and await self._is_there(judged, event_id)
            if not already:
                await self._append(judged, event_id, rejection_id)
            await self._mark(found.rejection, event_id, done=True)
        logger.info("rejection.accepted", rejection_id=rejection_id, event_id=event_id)
        return Acceptance(event_id, already)

    async def _find(self, rejection_id: str) -> Found:
        found = await self._found.find(rejection_id)
        if found is None:
            raise NotFound(rejection_id)
        return found

    async def _judge(self, rejection: rejection_pb2.Rejection) -> _Judged:
        request = rejection.request
        served = self._registry.get(rejection.flow_id)
        if served is None:
            raise UnknownFlow(f"The flow {rejection.flow_id} is gone: apply it again.")
        if not rejection.whole:
            raise NotWhole(_why_not_whole(rejection, served))
        if request.method not in served.methods:
            methods = ", ".join(served.methods)
            raise MethodNotAllowed(
                f"The flow takes {methods}, and this was a {request.method}: add it to "
                "`methods` of the trigger.",
                served.methods,
            )
        if len(request.body) > served.max_body:
            raise TooLarge(
                f"The flow takes bodies of at most {served.max_body} bytes, and this has "
                f"{len(request.body)}: raise `max_body` of the trigger."
            )
        raw, limit = served.raw, served.max_body
        if await bodies.check_anywhere(request, raw=raw, limit=limit) is not None:
            raise Malformed("This is a batch of events: have its sender send it again.")
        return _Judged(served, request)

    async def _begin(self, found: Found) -> tuple[str, bool]:
        """Write down which event it becomes; where two did, the first one counts.

        Tells whether it is this one.
        """
        if found.event_id:
            return found.event_id, False
        event_id = new_event_id()
        await self._mark(found.rejection, event_id, done=False)
        first = (await self._find(found.rejection.id)).event_id
        return first, first == event_id

    async def _is_there(self, judged: _Judged, event_id: str) -> bool:
        """Whether an event is in the log, looked for since its id was made."""
        topic, wanted = self._topics.events, event_id.encode()
        partition = partition_of(judged.request.flow_id.encode(), topic.partitions)
        since_ms = (id_time_ms(event_id) or 0) - SKEW_MS
        start = await first_since(self._log, topic, partition, since_ms)
        end = (await self._log.bounds(topic, partition)).end
        async for one in records(self._log, topic, partition, start, end):
            value = one.value or b""
            if wanted in value and event_pb2.Event.FromString(value).id == event_id:
                return True
        return False

    async def _mark(
        self, rejection: rejection_pb2.Rejection, event_id: str, *, done: bool
    ) -> None:
        mark = rejection_pb2.AcceptedRejection(
            rejection_id=rejection.id, event_id=event_id
        )
        record = (
            rejection_pb2.RejectionRecord(accepted=mark)
            if done
            else rejection_pb2.RejectionRecord(accepting=mark)
        )
        key = rejection.flow_id.encode()
        await self._log.append(self._topics.rejections, key, record.SerializeToString())

    async def _append(self, judged: _Judged, event_id: str, rejection_id: str) -> None:
        event = event_pb2.Event(
            id=event_id,
            flow_id=judged.request.flow_id,
            flow_version=judged.served.version,
            accepted_at_us=time.time_ns() // 1000,
            request=judged.request,
            from_rejection=rejection_id,
        )
        key = judged.request.flow_id.encode()
        await self._log.append(self._topics.events, key, event.SerializeToString())
        self._metrics.accepted.inc()
        self._metrics.body_bytes.inc(len(judged.request.body))


def _why_not_whole(rejection: rejection_pb2.Rejection, served: ServedFlow) -> str:
    if served.flow.webhook.keep_rejected:
        return (
            f"This request was not kept whole: it had {rejection.body_size} bytes, and "
            "bodies are kept up to 256 KiB, from when `keep_rejected: true` was applied "
            "and where they were read. Have the sender send it again."
        )
    return (
        "This request was not kept whole: set `keep_rejected: true` on the trigger of "
        f"the flow {rejection.flow_id}, and what is refused from then on can be accepted."
    )
