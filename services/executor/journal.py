"""Stop 9: writes down how executions have ended, and keeps what failed for good."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from hookline.errors import Unavailable
from hookline.event import Value
from hookline.log import Log, Position, Record, Topic
from hookline.metrics import Metrics
from hookline.telemetry import Sampled, get_logger
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2

RESULT_LIMIT_BYTES = 1024
REASON_LIMIT = 4096
PAUSE_S = 0.5
logger = get_logger(__name__)
Finish = Callable[[], None]
Listener = Callable[[event_pb2.Event, execution_pb2.ExecutionEnded], None]


@dataclass(slots=True)
class Ended:
    """How an execution has ended."""

    status: "execution_pb2.Status.ValueType"
    started_at_us: int
    attempts: int
    results: list[Value] = field(default_factory=list)
    step: str = ""
    reason: str = ""


class Journal:
    """Appends to `executions` and `dead_letters`; tries until the log takes it."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        metrics: Metrics,
        listener: Listener | None = None,
    ) -> None:
        self._log = log
        self._topics = topics
        self._metrics = metrics
        self._listener = listener
        self._delays = Sampled(logger, level="warning")

    def write_ended(
        self, event: event_pb2.Event, record: Record, ended: Ended, finish: Finish
    ) -> None:
        """Write an end down; `finish` is called when it is durable."""
        message = _ended_message(ended)
        entry = execution_pb2.JournalEntry(
            event_id=event.id,
            flow_id=event.flow_id,
            event_offset=record.offset,
            ended=message,
        )
        self._count(event, message)
        if self._listener is not None:
            self._listener(event, message)
        self._keep(
            self._topics.executions, record.key, entry.SerializeToString(), finish
        )

    async def write_failed(
        self,
        event: event_pb2.Event,
        record: Record,
        ended: Ended,
        finish: Finish,
        *,
        indeterminate: bool,
    ) -> None:
        """Keep the dead letter; then, and only then, write the end down."""
        letter = execution_pb2.DeadLetter(
            event=event,
            step=ended.step,
            reason=_sendable(ended.reason),
            attempts=ended.attempts,
            indeterminate=indeterminate,
            failed_at_us=time.time_ns() // 1000,
        )
        await self._keep_letter(record, letter)
        self.write_ended(event, record, ended, finish)

    async def write_unreadable(
        self, record: Record, reason: str, finish: Finish
    ) -> None:
        """Keep a record that is no event; others may write to the topic, too."""
        logger.error(
            "event.unreadable", partition=record.partition, offset=record.offset
        )
        letter = execution_pb2.DeadLetter(
            unreadable=record.value or b"",
            reason=reason,
            failed_at_us=time.time_ns() // 1000,
        )
        await self._keep_letter(record, letter)
        self._metrics.failed.inc()
        finish()

    async def _keep_letter(
        self, record: Record, letter: execution_pb2.DeadLetter
    ) -> None:
        kept = asyncio.Event()
        value = letter.SerializeToString()
        self._keep(self._topics.dead_letters, record.key, value, kept.set)
        await kept.wait()

    def _keep(self, topic: Topic, key: bytes, value: bytes, finish: Finish) -> None:
        """Append until the log has it."""

        def appended(future: "asyncio.Future[Position]") -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                finish()
            elif isinstance(error, Unavailable):
                self._delays.line("journal.delayed", error=str(error))
                again = partial(self._keep, topic, key, value, finish)
                asyncio.get_running_loop().call_later(PAUSE_S, again)
            else:
                raise error

        self._log.append(topic, key, value).add_done_callback(appended)

    def _count(
        self, event: event_pb2.Event, ended: execution_pb2.ExecutionEnded
    ) -> None:
        metrics = self._metrics
        match ended.status:
            case execution_pb2.STATUS_COMPLETED:
                metrics.completed.inc()
            case execution_pb2.STATUS_FILTERED:
                metrics.filtered.inc()
            case _:
                metrics.failed.inc()
        metrics.duration.observe((ended.ended_at_us - event.accepted_at_us) / 1e6)


def _ended_message(ended: Ended) -> execution_pb2.ExecutionEnded:
    return execution_pb2.ExecutionEnded(
        status=ended.status,
        started_at_us=ended.started_at_us,
        ended_at_us=time.time_ns() // 1000,
        attempts=ended.attempts,
        result=_preview(ended.results),
        step=ended.step,
        reason=_sendable(ended.reason),
    )


def _sendable(text: str) -> str:
    """A reason as protobuf takes it: UTF-8, and of a sensible length."""
    return text[:REASON_LIMIT].encode(errors="replace").decode()


def _preview(results: list[Value]) -> bytes:
    if not results:
        return b""
    value = results[0] if len(results) == 1 else results
    try:
        return msgspec.json.encode(value)[:RESULT_LIMIT_BYTES]
    except (TypeError, ValueError, RecursionError):
        return b'"(a value that JSON cannot hold)"'
