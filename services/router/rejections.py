"""Beside stop 3: what was refused after its flow was known is kept, for its owner to see.

The answer neither waits for it nor depends on it. So many are kept a second, of one flow
for one reason and of all; the rest is counted, before anything is made of it, and the
count is kept. While the log does not take them they are dropped.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from hookline.errors import Error, UnknownFlow
from hookline.log import Log, Topic
from hookline.metrics import RouterMetrics
from hookline.outcomes import reason_of
from hookline.telemetry import Sampled, get_logger
from hookline.v1 import event_pb2
from hookline.v1.rejection_pb2 import RejectionRecord
from services.router.registry import Registry
from services.router.rejections_record import left_out_record, record_of

MOST_A_SECOND: Final = 50
MOST_A_SECOND_A_KIND: Final = 5
MOST_PENDING_BYTES: Final = 4 * 1024 * 1024
COUNTED_S: Final = 1.0
# A flow and a reason: what floods hides nothing else.
Kind = tuple[str, "event_pb2.Reason.ValueType"]
logger = get_logger(__name__)


class Rejections:
    """Keeps rejections in the log, within its bounds; lives on one loop."""

    def __init__(
        self, registry: Registry, log: Log, topic: Topic, metrics: RouterMetrics
    ) -> None:
        self._registry = registry
        self._log = log
        self._topic = topic
        self._metrics = metrics
        self._second = 0
        self._kept = 0
        self._kept_by_kind: dict[Kind, int] = {}
        self._left_out: dict[Kind, int] = {}
        self._telling = False
        self._pending_bytes = 0
        self._dropped = Sampled(logger, most_a_second=1, level="warning")

    def keep(self, request: object, error: Error) -> None:
        """Keep a refused request, or count it. Never raises, waits for nothing.

        Only a whole head can be kept: what has been handed to the log is gone.
        """
        if type(error) is UnknownFlow or not isinstance(request, event_pb2.Request):
            return
        flow_id = request.flow_id
        served = self._registry.get(flow_id)
        if served is None:
            return
        kind = flow_id, reason_of(error)
        if self._admits(kind):
            make = partial(record_of, request, error, served)
            # After the answer: how long that takes tells nobody that there is such a flow.
            asyncio.get_running_loop().call_soon(self._append, flow_id, make)
        else:
            self._leave_out(kind)

    def _admits(self, kind: Kind) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._kept = second, 0
            self._kept_by_kind.clear()
        of_kind = self._kept_by_kind.get(kind, 0)
        if of_kind >= MOST_A_SECOND_A_KIND or self._kept >= MOST_A_SECOND:
            return False
        self._kept += 1
        self._kept_by_kind[kind] = of_kind + 1
        return True

    def _leave_out(self, kind: Kind) -> None:
        self._metrics.rejections_left_out.inc()
        self._left_out[kind] = self._left_out.get(kind, 0) + 1
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_later(COUNTED_S, self._tell_left_out)

    def _tell_left_out(self) -> None:
        """Keep how many were left out: of so many kinds now, of the others later."""
        for kind in list(islice(self._left_out, MOST_A_SECOND)):
            count = self._left_out.pop(kind)
            self._append(kind[0], partial(left_out_record, *kind, count))
        self._telling = bool(self._left_out)
        if self._telling:
            asyncio.get_running_loop().call_later(COUNTED_S, self._tell_left_out)

    def _append(self, flow_id: str, make: Callable[[], RejectionRecord]) -> None:
        try:
            value = make().SerializeToString()
            size = len(value)
            if self._pending_bytes + size > MOST_PENDING_BYTES:
                self._drop("the log has not taken those before")
                return
            appended = self._log.append(self._topic, flow_id.encode(), value)
        except Exception as fault:  # noqa: BLE001 - nobody waits here who could be told
            # The answer has gone out; a rejection is missing, and that is counted.
            self._drop(f"{type(fault).__name__}: {fault}")
            return
        self._pending_bytes += size
        appended.add_done_callback(partial(self._appended, size))

    def _appended(self, size: int, appended: "asyncio.Future[object]") -> None:
        self._pending_bytes -= size
        error = None if appended.cancelled() else appended.exception()
        if appended.cancelled() or error is not None:
            self._drop(str(error))
        else:
            self._metrics.rejections_kept.inc()

    def _drop(self, why: str) -> None:
        self._metrics.rejections_dropped.inc()
        self._dropped.line("rejection.dropped", error=why)
