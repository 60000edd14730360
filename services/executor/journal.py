"""Stop 9: writes down how far executions have come, and keeps what failed for good.

An end, and a step with effects before the next one starts, is in the journal when its
future is done. Every record carries its owner's claim, so that what an owner of before
writes is known for what it is.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hookline.body_store import BodyStore
from hookline.errors import Unavailable
from hookline.failpoints import failpoint
from hookline.log import Log, Position, Record
from hookline.metrics import Metrics
from hookline.telemetry import Sampled, get_logger
from hookline.topics import Topics
from hookline.v1 import control_pb2, event_pb2, execution_pb2
from services.executor.in_order import InOrder
from services.executor.letters import give_own_body
from services.executor.restore import Restored, key_in
from services.executor.running import RunningExecutions

REASON_LIMIT = 4096
logger = get_logger(__name__)
Finish = Callable[[], None]
Listener = Callable[[event_pb2.Event, execution_pb2.ExecutionEnded], None]


@dataclass(slots=True)
class Ended:
    """How an execution has ended."""

    status: "execution_pb2.Status.ValueType"
    started_at_us: int
    attempts: int
    result: bytes = b""
    step: str = ""
    reason: str = ""
    indeterminate: bool = False
    on_error: str = ""


@dataclass(frozen=True, slots=True)
class Journals:
    """What the journals of all partitions have in common."""

    log: Log
    topics: Topics
    metrics: Metrics
    listener: Listener | None = None
    bodies: BodyStore | None = None

    def under(self, restored: Restored) -> "Journal":
        """The journal of a partition that was claimed."""
        restored.keys.on_forgotten = self.metrics.keys_forgotten.inc
        return Journal(self, restored)


class Journal:
    """Appends to `executions` and `dead_letters`; tries until the log takes it.

    One partition's, under one claim. `state` is what it says; `reached` is the highest
    offset of its records that is durable, `records` how many are. `running` are the
    executions that its next records will speak of.
    """

    def __init__(self, journals: Journals, restored: Restored) -> None:
        log, topics = journals.log, journals.topics
        self._executions = InOrder(log, topics.executions, self._delay)
        self._dead_letters = InOrder(log, topics.dead_letters, self._delay)
        self._metrics = journals.metrics
        self._listener = journals.listener
        self._bodies = journals.bodies
        self._delays = Sampled(logger, level="warning")
        self._stamp = restored.claim.stamp
        self.claim = restored.claim
        self.state = restored.state
        self.running = RunningExecutions()
        self.keys = restored.keys
        self.reached = restored.reached
        self._key = key_in(restored.partition, topics.executions.partitions)
        self.records = 0
        # How often something was said to be passed, in checkpoints or not.
        self.passed = 0
        # Somebody wants to know when so many are.
        self.records_due = 0
        self.on_due: Callable[[], None] = lambda: None

    def write_ended(
        self, event: event_pb2.Event, record: Record, ended: Ended, finish: Finish
    ) -> None:
        """Write an end down; `finish` is called when it is durable."""
        entry = execution_pb2.JournalEntry(
            event_id=event.id, flow_id=event.flow_id, event_offset=record.offset
        )
        message = entry.ended
        _tell(message, ended)
        self._count(event, message)
        if self._listener is not None:
            self._listener(event, message)
        # A control may speak of it until its end is durable, of one with no record, too.
        self._write(record.key, entry, partial(self._end, record.offset, finish))

    def _end(self, offset: int, finish: Finish) -> None:
        self.state.end(offset)
        self.keys.end(offset)
        finish()

    async def write_progress(
        self,
        event: event_pb2.Event,
        record: Record,
        progress: execution_pb2.ExecutionProgress,
    ) -> None:
        """Write down how far an execution has come; returns when it is durable."""
        entry = execution_pb2.JournalEntry(
            event_id=event.id,
            flow_id=event.flow_id,
            event_offset=record.offset,
            progress=progress,
        )
        self.state.move(record.offset, progress)
        written = asyncio.Event()
        self._write(record.key, entry, written.set)
        await written.wait()

    async def write_control(
        self,
        record: Record,
        taken: execution_pb2.ControlTaken,
        control: control_pb2.Control,
    ) -> None:
        """Write down what came of a control; returns when it is durable.

        From here on the execution is what the control has made of it, and it is not
        carried out again from when it is durable.
        """
        entry = execution_pb2.JournalEntry(
            event_id=control.event_id,
            flow_id=control.flow_id,
            event_offset=control.event_offset,
            control=taken,
        )
        if taken.HasField("progress"):
            self.state.move(control.event_offset, taken.progress)
        written = asyncio.Event()

        def take() -> None:
            # At once: a bookmark behind its record says that it was taken.
            self.state.controls.take(taken)
            written.set()

        self._write(record.key, entry, take)
        await written.wait()

    async def write_passed(self, passed: execution_pb2.PassedEvents) -> None:
        """Write down what the commit is to pass; returns when it is durable."""
        self.passed += 1
        passed.number = self.passed
        written = asyncio.Event()
        entry = execution_pb2.JournalEntry(passed=passed)
        self._write(self._key, entry, written.set)
        await written.wait()

    async def write_checkpoint(self, checkpoint: execution_pb2.Checkpoint) -> None:
        """Write down a part of a checkpoint; returns when it is durable."""
        if checkpoint.HasField("passed"):
            self.passed += 1
            checkpoint.passed.number = self.passed
        entry = execution_pb2.JournalEntry(checkpoint=checkpoint)
        written = asyncio.Event()
        self._write(self._key, entry, written.set)
        await written.wait()

    def _write(
        self, key: bytes, entry: execution_pb2.JournalEntry, finish: Finish
    ) -> None:
        value = self._stamp + entry.SerializeToString()
        self._executions.append(key, value, partial(self._kept, finish))

    async def keep_letter(
        self, event: event_pb2.Event, record: Record, ended: Ended
    ) -> None:
        """Keep an event as a dead letter; only then may its end be written down."""
        letter = execution_pb2.DeadLetter(
            event=event,
            step=ended.step,
            reason=sendable(ended.reason),
            attempts=ended.attempts,
            indeterminate=ended.indeterminate,
            failed_at_us=time.time_ns() // 1000,
            event_offset=record.offset,
        )
        failpoint("executor.before_dead_letter")
        await self._keep_letter(record, letter)
        failpoint("executor.after_dead_letter_before_journal")

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
            event_offset=record.offset,
        )
        await self._keep_letter(record, letter)
        self._metrics.failed.inc()
        ended = Ended(execution_pb2.STATUS_FAILED, letter.failed_at_us, 0)
        ended.reason = reason
        entry = execution_pb2.JournalEntry(event_offset=record.offset)
        _tell(entry.ended, ended)
        self._write(record.key, entry, partial(self._end, record.offset, finish))

    async def _keep_letter(
        self, record: Record, letter: execution_pb2.DeadLetter
    ) -> None:
        await give_own_body(letter, record.partition, self._bodies)
        kept = asyncio.Event()
        value = letter.SerializeToString()
        self._dead_letters.append(record.key, value, lambda _: kept.set())
        await kept.wait()

    def _delay(self, error: Unavailable) -> None:
        self._delays.line("journal.delayed", error=str(error))

    def _kept(self, finish: Finish, position: Position) -> None:
        self._count_record(position.offset)
        finish()

    def _count_record(self, offset: int) -> None:
        self.reached = max(self.reached, offset)
        self.records += 1
        if self.records == self.records_due:
            self.on_due()

    def _count(
        self, event: event_pb2.Event, ended: execution_pb2.ExecutionEnded
    ) -> None:
        metrics = self._metrics
        match ended.status:
            case execution_pb2.STATUS_COMPLETED:
                metrics.completed.inc()
            case execution_pb2.STATUS_FILTERED:
                metrics.filtered.inc()
            case execution_pb2.STATUS_SKIPPED:
                metrics.skipped.inc()
            case execution_pb2.STATUS_CANCELLED:
                metrics.cancelled.inc()
            case execution_pb2.STATUS_DUPLICATE:
                metrics.repeated.inc()
                return
            case _:
                metrics.failed.inc()
        metrics.duration.observe((ended.ended_at_us - event.accepted_at_us) / 1e6)


def _tell(message: execution_pb2.ExecutionEnded, ended: Ended) -> None:
    """Fill in an end; most ends have no more than the first four."""
    message.status = ended.status
    message.started_at_us = ended.started_at_us
    message.ended_at_us = time.time_ns() // 1000
    message.attempts = ended.attempts
    if ended.result:
        message.result = ended.result
    if ended.step:
        message.step = ended.step
    if ended.reason:
        message.reason = sendable(ended.reason)
    if ended.indeterminate:
        message.indeterminate = True
    if ended.on_error:
        message.on_error = sendable(ended.on_error)


def sendable(text: str) -> str:
    """A reason as protobuf takes it: UTF-8, and of a sensible length."""
    return text[:REASON_LIMIT].encode(errors="replace").decode()
