"""Stop 7: one event through its flow's steps, to its end.

A step with effects is in the journal, with its messages, before the next step starts; an
execution that was interrupted goes on behind the last one that is. A failed step ends the
execution; the event goes whole to the dead letters before it counts as ended, or is held
where the flow says so.
"""

import asyncio
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from hookline.body_store import BodyStore
from hookline.components import Effect
from hookline.components.steps import BoundStep
from hookline.event import Message
from hookline.failpoints import failpoint
from hookline.log import Record
from hookline.v1 import event_pb2
from services.executor.attempts import Attempts
from services.executor.failure import Discarded, Rests, StepFailed, Stopped
from services.executor.flows import BoundFlow, Flows
from services.executor.journal import Finish, Journal
from services.executor.lanes import HELD, Rest
from services.executor.on_error import bare_message, error_message
from services.executor.opening import first_message
from services.executor.progress import Progress
from services.executor.pure_steps import next_applying, run_pure
from services.executor.repeats import end_repeat
from services.executor.room import Room
from services.executor.running import ENDING, IN_STEPS
from services.executor.tenure import Tenure
from services.executor.written_execution import DISCARDED, WrittenExecution


class Executions:
    """Runs events."""

    def __init__(
        self, flows: Flows, attempts: Attempts, bodies: BodyStore | None = None
    ) -> None:
        self._bodies = bodies
        self._room = Room()
        self._flows = flows
        self._attempts = attempts
        self._gate = attempts.gate

    async def execute(
        self, journal: Journal, record: Record, finish: Finish, tenure: Tenure
    ) -> Rest | None:
        """Run a record's event; `finish` is called when its end is in the journal.

        Where it does not end now, tells how long it rests: nothing of it is kept here
        meanwhile, and it goes on from the journal. Raises CancelledError where the
        tenure ends first.
        """
        try:
            event = event_pb2.Event.FromString(record.value or b"")
        except DecodeError as error:
            await journal.write_unreadable(record, str(error), finish)
            return None
        if not (event.id and event.flow_id and event.flow_version):
            text = "it names no event, no flow or no version"
            await journal.write_unreadable(record, text, finish)
            return None
        if (repeat := journal.keys.repeats.get(record.offset)) is not None:
            end_repeat(journal, event, record, repeat, finish)
            return None
        known = journal.state.open.get(record.offset)
        execution = WrittenExecution(event, record, journal, known)
        if execution.is_decided():
            execution.end_as_decided(finish, execution.ran)
            return None
        running = execution.running = journal.running.begin(record.offset)
        try:
            rest = await self._run_as_told(event, execution, finish, tenure)
            if rest is None or not execution.is_decided():
                return rest
            execution.end_as_decided(finish, _ran_before(execution))
        except Stopped:
            execution.end_as_decided(finish, _ran_before(execution))
        except asyncio.CancelledError:
            if not running.take_cut():
                raise
            ran = running.step_with_effects or _ran_before(execution)
            execution.end_as_decided(finish, ran)
        finally:
            journal.running.end(record.offset)
        return None

    async def _run_as_told(
        self,
        event: event_pb2.Event,
        execution: WrittenExecution,
        finish: Finish,
        tenure: Tenure,
    ) -> Rest | None:
        """As far as its flow is to run: not while it is suspended, say."""
        try:
            return await self._run_to_end(event, execution, finish, tenure)
        except Rests as rests:
            return Rest(rests.due_at_us)
        except Discarded:
            if execution.is_failing():
                ended = execution.ended_failing
                ended.on_error = DISCARDED
                execution.end_failed(ended, finish)
            else:
                await execution.discard(finish)
            return None

    async def _run_to_end(
        self,
        event: event_pb2.Event,
        execution: WrittenExecution,
        finish: Finish,
        tenure: Tenure,
    ) -> Rest | None:
        """To its end; what fails for good is kept. Raises Rests, Discarded."""
        try:
            self._gate.pass_through(event.flow_id, event.flow_version)
            if execution.is_held:
                return HELD
            bound = await self._flows.get(event.flow_id, event.flow_version, tenure)
        except StepFailed as failure:
            execution.running.phase = ENDING
            if execution.is_failing():
                ended = execution.ended_failing
                ended.on_error = str(failure)
            else:
                ended = await execution.keep_letter(failure)
            execution.end_failed(ended, finish)
            return None
        execution.hold = bound.flow.on_exhausted == "hold"
        with self._room.share() as share:
            first = None
            try:
                runs_as = execution.runs_as
                first = await first_message(runs_as, bound, self._bodies, tenure, share)
                first = execution.marked(first)
                if not execution.is_failing():
                    failpoint("executor.before_first_step")
                    await self._go_through(
                        bound.steps, first, execution, tenure, finish
                    )
                    return None
            except StepFailed as failure:
                if not execution.is_failing():
                    rest = await _fail(failure, bound, execution, finish)
                    if not execution.is_failing():
                        return rest
            first = first or bare_message(event, bound)
            return await self._tell(bound, first, execution, finish, tenure)

    async def _tell(
        self,
        bound: BoundFlow,
        first: Message,
        execution: WrittenExecution,
        finish: Finish,
        tenure: Tenure,
    ) -> Rest | None:
        """Run the steps of `on_error`; its dead letter is kept, whatever they come to."""
        ended = execution.ended_failing
        try:
            progress = execution.resume(error_message(first, ended))
            await self._run(bound.on_error, progress, execution, tenure)
        except Discarded:
            ended.on_error = DISCARDED
        except StepFailed as failure:
            where = f"step {failure.step_id!r}: " if failure.step_id else ""
            ended.on_error = f"{where}{failure}"
        execution.end_failed(ended, finish)
        return None

    async def _go_through(
        self,
        steps: Sequence[BoundStep],
        first: Message,
        execution: WrittenExecution,
        tenure: Tenure,
        finish: Finish,
    ) -> None:
        """From where it is to the end of its flow."""
        if execution.is_new:
            reached = await run_pure(steps, first, tenure)
            if reached.message is None or reached.next_step == len(steps):
                execution.complete_pure(reached, finish)
                return
            progress = execution.begin(first, reached)
        else:
            progress = execution.resume(first)
        await self._run(steps, progress, execution, tenure)
        execution.complete(finish)

    async def _run(
        self,
        steps: Sequence[BoundStep],
        progress: Progress,
        execution: WrittenExecution,
        tenure: Tenure,
    ) -> None:
        """Take all messages through the steps that are before them."""
        running = execution.running
        running.phase = IN_STEPS
        while progress.waiting:
            index, _, message = progress.next()
            index = next_applying(steps, index, message)
            if index == len(steps):
                progress.passed_last()
                continue
            step = running.step = steps[index]
            out, attempts = await self._attempts.run(
                step, message.derive(step_id=step.id), tenure, execution
            )
            failpoint("executor.after_step_before_journal")
            progress.step_done(step.id, index + 1, out, attempts)
            pure = step.component.effect is Effect.PURE
            if not pure and progress.goes_on(len(steps)):
                await execution.write_step(step.id, tenure)
                failpoint("executor.between_steps")


def _ran_before(execution: WrittenExecution) -> str:
    """The step that may have run in an executor of before; none where one has run here."""
    is_new = execution.is_new or execution.running.step is not None
    return "" if is_new else execution.ran


async def _fail(
    failure: StepFailed, bound: BoundFlow, execution: WrittenExecution, finish: Finish
) -> Rest | None:
    """Hold it, or keep its dead letter; then it ends, or its `on_error` begins."""
    execution.running.phase = ENDING
    if execution.hold:
        return await execution.hold_back(failure)
    ended = await execution.keep_letter(failure)
    if bound.on_error:
        await execution.begin_on_error(ended)
    else:
        execution.end_failed(ended, finish)
    return None
