"""One execution as it is written down: its steps, its attempts, its end.

What the journal knows is where a new owner goes on. Steps that are pure leave no record,
and the last step shares that of the end: what costs nothing to lose is not written.
"""

import time
from typing import Final

from hookline.errors import TerminalError, Unavailable
from hookline.event import Message
from hookline.log import Record
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2, execution_pb2
from services.executor.decided import edited_event, end_decided, ended_failing
from services.executor.failure import StepFailed
from services.executor.journal import Ended, Finish, Journal, sendable
from services.executor.lanes import HELD, Rest
from services.executor.progress import Progress, shown
from services.executor.pure_steps import Reached
from services.executor.running import Running
from services.executor.step_messages import MOST_BYTES
from services.executor.tenure import Tenure

logger = get_logger(__name__)
FAILED = execution_pb2.STATUS_FAILED
FILTERED = execution_pb2.STATUS_FILTERED
COMPLETED = execution_pb2.STATUS_COMPLETED
STORE_AGAIN_S: Final = 2.0
RECORD_BYTES: Final = 8 * 1024 * 1024


class WrittenExecution:
    """Between an event's execution and the journal of its partition."""

    def __init__(
        self,
        event: event_pb2.Event,
        record: Record,
        journal: Journal,
        known: execution_pb2.ExecutionProgress | None,
    ) -> None:
        self._event = event
        self._record = record
        self._journal = journal
        self._known = known
        started_at_us = known.started_at_us if known else 0
        self._started_at_us = started_at_us or time.time_ns() // 1000
        self._progress: Progress | None = None
        self._failed: execution_pb2.AttemptFailed | None = None
        # Whether the flow keeps what has failed until a person decides.
        self.hold = False
        self.running = Running(None)

    @property
    def is_new(self) -> bool:
        """Whether the journal knows nothing of it."""
        return self._known is None

    def is_decided(self) -> bool:
        """Whether a person has decided that it ends."""
        known = self._known_now
        return known is not None and known.HasField("decided")

    def is_failing(self) -> bool:
        """Whether it has failed for good, its letter kept, and its end not yet."""
        return self._known is not None and self._known.HasField("failing")

    @property
    def runs_as(self) -> event_pb2.Event:
        """The event; where a person has edited it, as that has left it."""
        known = self._known
        if known is None or not known.HasField("edited"):
            return self._event
        return edited_event(self._event, known.edited.edit)

    @property
    def ran(self) -> str:
        """The step that may have run when the executor before stopped."""
        assert self._known is not None  # noqa: S101 - the caller has looked
        return self._known.decided.step or self._known.started.step

    @property
    def is_held(self) -> bool:
        """Whether it is kept as it is until a person decides."""
        return self._known is not None and self._known.HasField("held")

    def begin(self, first: Message, reached: Reached) -> Progress:
        """Behind the pure steps at its beginning."""
        self._progress = progress = Progress.begin(first)
        if reached.message is not None:
            progress.go_past(reached.next_step, reached.passed, reached.message)
        return progress

    def resume(self, first: Message) -> Progress:
        """Where the journal says that it stands.

        Raises StepFailed where a step that is not repeatable was started, and its end is
        unknown; and where another version has written what this one cannot read.
        """
        known = self._known
        assert known is not None  # noqa: S101 - the caller has looked
        if known.HasField("failed"):
            self._failed = known.failed
        try:
            self._progress = Progress.resume(first, known)
        except (KeyError, ValueError) as cause:
            text = f"what the journal has of its steps cannot be read here: {cause!r}"
            raise StepFailed("", 0, TerminalError(text)) from cause
        if known.HasField("started"):
            error = TerminalError(
                "the executor stopped while this step ran: whether its work was done is "
                "unknown, and it is not sent again by itself",
                indeterminate=True,
            )
            raise StepFailed(known.started.step, known.started.attempt, error)
        return self._progress

    def due(self, step_id: str) -> tuple[int, int]:
        """The attempt to begin a step with, and when it is due."""
        failed = self._failed
        if failed is None or failed.step != step_id:
            return 1, 0
        self._failed = None
        return failed.attempt + 1, failed.next_at_us

    def check(self) -> None:
        """Pass a place where it may stop. Raises Stopped where it is to."""
        self.running.check()

    async def start(self, step_id: str, attempt: int) -> None:
        """A step that is not repeatable is about to start."""
        entry = self._entry(None)
        entry.started.step, entry.started.attempt = step_id, attempt
        await self._write(entry)

    async def fail(
        self, step_id: str, attempt: int, next_at_us: int, error: str
    ) -> None:
        """An attempt has failed; the next one gets the same message unless it is large."""
        entry = self._entry(await self._moved_if_small())
        failed = entry.failed
        failed.step, failed.attempt, failed.next_at_us = step_id, attempt, next_at_us
        failed.error = sendable(error)
        await self._write(entry)

    async def write_step(self, step_id: str, tenure: Tenure) -> None:
        """A step with effects is done; the next one may start when this returns.

        Raises StepFailed where the journal cannot keep what it has made.
        """
        try:
            moved = await self._moved(tenure)
            _check_size(moved, step_id)
        except TerminalError as error:
            raise StepFailed(step_id, 0, error) from error
        await self._write(self._entry(moved))

    async def hold_back(self, failure: StepFailed) -> Rest:
        """Keep it as it is until a person decides."""
        entry = self._entry(None)
        held = entry.held
        held.step, held.reason = failure.step_id, sendable(str(failure))
        held.attempts = self._attempts + failure.attempts
        held.indeterminate = failure.indeterminate
        held.held_at_us = time.time_ns() // 1000
        await self._write(entry)
        logger.error(
            "execution.held",
            event_id=self._event.id,
            flow_id=self._event.flow_id,
            step=held.step,
            reason=held.reason,
        )
        return HELD

    async def keep_letter(self, failure: StepFailed) -> Ended:
        """Keep it as a dead letter; gives the end that may be written down then."""
        attempts = self._attempts + failure.attempts
        ended = Ended(FAILED, self._started_at_us, attempts)
        ended.step, ended.reason = failure.step_id, str(failure)
        ended.indeterminate = failure.indeterminate
        await self._journal.keep_letter(self._event, self._record, ended)
        return ended

    def marked(self, first: Message) -> Message:
        """The first message; steps of an edited event have idempotency keys of its own."""
        known = self._known
        if known is None or not known.HasField("edited"):
            return first
        return first.derive(item=f"edit{known.edited.number}")

    async def begin_on_error(self, ended: Ended) -> None:
        """Its dead letter is kept, and the steps of `on_error` are to run."""
        self._progress = None
        entry = self._entry(None)
        entry.attempts = 0
        failing = entry.failing
        failing.step, failing.reason = ended.step, sendable(ended.reason)
        failing.attempts, failing.indeterminate = ended.attempts, ended.indeterminate
        await self._write(entry)
        self._known = self._known_now

    @property
    def ended_failing(self) -> Ended:
        """The end of what has failed, as the journal has it."""
        assert self._known is not None  # noqa: S101 - the caller has looked
        return ended_failing(self._known)

    def end_failed(self, ended: Ended, finish: Finish) -> None:
        """Write its end down: it has failed for good."""
        self._journal.write_ended(self._event, self._record, ended, finish)

    def end_as_decided(self, finish: Finish, ran: str = "") -> None:
        """Write its end down: a person has decided it; `ran` is the step it was cut in."""
        known = self._known_now
        assert known is not None  # noqa: S101 - the decision is known
        ended = end_decided(known, ran)
        ended.started_at_us = self._started_at_us
        self._journal.write_ended(self._event, self._record, ended, finish)

    def complete_pure(self, reached: Reached, finish: Finish) -> None:
        """Write its end down: all its steps were pure."""
        ended = Ended(COMPLETED, self._started_at_us, len(reached.passed))
        if reached.message is None:
            ended.status, ended.step = FILTERED, reached.passed[-1]
        else:
            ended.result = shown(reached.message.body)
        self._journal.write_ended(self._event, self._record, ended, finish)

    def complete(self, finish: Finish) -> None:
        """Write its end down: all messages have passed the last step."""
        progress = self._progress_so_far
        ended = Ended(COMPLETED, self._started_at_us, progress.attempts)
        ended.result = progress.result
        if progress.filtered_by and not progress.results:
            ended.status, ended.step = FILTERED, progress.filtered_by
        self._journal.write_ended(self._event, self._record, ended, finish)

    @property
    def _progress_so_far(self) -> Progress:
        assert self._progress is not None  # noqa: S101 - it has begun
        return self._progress

    @property
    def _known_now(self) -> execution_pb2.ExecutionProgress | None:
        """All its records; a control may have written one of them meanwhile."""
        return self._journal.state.open.get(self._record.offset)

    @property
    def _attempts(self) -> int:
        if self._progress is not None:
            return self._progress.attempts
        return self._known.attempts if self._known else 0

    async def _moved(self, tenure: Tenure) -> execution_pb2.MessagesMoved:
        while True:
            try:
                return await self._progress_so_far.moved()
            except Unavailable as error:
                logger.warning(
                    "execution.waits", event_id=self._event.id, error=str(error)
                )
                await tenure.wait(STORE_AGAIN_S)

    async def _moved_if_small(self) -> execution_pb2.MessagesMoved | None:
        """None: pure steps run again before the attempt that is due."""
        try:
            moved = await self._progress_so_far.moved()
        except (TerminalError, Unavailable):
            return None
        return moved if moved.ByteSize() <= MOST_BYTES else None

    def _entry(
        self, moved: execution_pb2.MessagesMoved | None
    ) -> execution_pb2.ExecutionProgress:
        known = self._known_now
        return execution_pb2.ExecutionProgress(
            number=known.number + 1 if known else 1,
            started_at_us=self._started_at_us,
            attempts=self._attempts,
            moved=moved,
        )

    async def _write(self, entry: execution_pb2.ExecutionProgress) -> None:
        if entry.HasField("moved"):
            self._progress_so_far.told()
        await self._journal.write_progress(self._event, self._record, entry)


def _check_size(moved: execution_pb2.MessagesMoved, step_id: str) -> None:
    made = sum(one.ByteSize() for one in moved.waiting if one.made_by == step_id)
    if made > MOST_BYTES or moved.ByteSize() > RECORD_BYTES:
        raise TerminalError(
            f"the step was done, and made {made:,} bytes; between steps at most "
            f"{MOST_BYTES:,} are kept: have it make less, or put it last"
        )
