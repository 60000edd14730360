"""Stop 3, where it says no: a refusal is counted, told in a line, kept, and answered."""

from hookline.errors import Error, Unauthenticated
from hookline.log import Log
from hookline.metrics import Metrics
from hookline.outcomes import reason_of
from hookline.telemetry import Sampled, get_logger
from hookline.topics import Topics
from hookline.v1 import event_pb2
from services.router.appending import Taken
from services.router.registry import Registry
from services.router.rejections import Rejections

logger = get_logger(__name__)
REASON_NAMES = {
    number: name.removeprefix("REASON_").lower()
    for name, number in event_pb2.Reason.items()
}


class Refusing:
    """Refuses requests, as their flows want it to look."""

    def __init__(
        self, registry: Registry, log: Log, topics: Topics, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._lines = Sampled(logger)
        self._kept = Rejections(registry, log, topics.rejections, metrics)

    def hides(self, request: event_pb2.Request, error: Error) -> bool:
        """Whether a refusal must not tell that there is such a flow."""
        return self._registry.refusals(request.flow_id).hides(error)

    def reject(
        self, asked: event_pb2.Request | Taken, error: Error
    ) -> event_pb2.Outcome:
        """Refuse a request; counted, told in a line, and kept for the flow's owner."""
        self._kept.keep(asked, error)
        reason = REASON_NAMES[reason_of(error)]
        self._metrics.rejected(reason)
        cause = error.cause if isinstance(error, Unauthenticated) else str(error)
        self._lines.line(
            "event.rejected",
            flow_id=asked.flow_id,
            request_id=asked.request_id,
            reason=reason,
            cause=cause,
        )
        outcome = self._registry.refusals(asked.flow_id).outcome(asked, error)
        served = self._registry.get(asked.flow_id)
        if served is not None and served.cors is not None:
            if isinstance(asked, Taken):
                more = asked.headers
            else:
                more = served.cors.on_answer(asked)
            outcome.rejected.headers.extend(more)
        return outcome
