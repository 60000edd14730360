"""Stop 7: one event through its flow's steps, to its end.

A failed step ends the execution; the event goes whole to the dead letters before it
counts as ended.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from hookline.body_store import BodyStore
from hookline.components.steps import BoundStep
from hookline.errors import TerminalError
from hookline.event import Message, Value
from hookline.log import Record
from hookline.v1 import event_pb2, execution_pb2
from services.executor.attempts import Attempts
from services.executor.failure import StepFailed
from services.executor.flows import Flows
from services.executor.journal import Ended, Finish, Journal
from services.executor.opening import first_message
from services.executor.room import Room
from services.executor.tenure import Tenure

FAILED = execution_pb2.STATUS_FAILED
FILTERED = execution_pb2.STATUS_FILTERED
COMPLETED = execution_pb2.STATUS_COMPLETED


@dataclass(slots=True)
class Progress:
    """What an execution has come to so far."""

    attempts: int = 0
    results: list[Value] = field(default_factory=list)
    filtered_by: str = ""


class Executions:
    """Runs events."""

    def __init__(
        self,
        flows: Flows,
        attempts: Attempts,
        journal: Journal,
        bodies: BodyStore | None = None,
    ) -> None:
        self._bodies = bodies
        self._room = Room()
        self._flows = flows
        self._attempts = attempts
        self._journal = journal

    async def execute(self, record: Record, finish: Finish, tenure: Tenure) -> None:
        """Run a record's event; `finish` is called when its end is in the journal.

        Raises CancelledError where the tenure ends first.
        """
        started_at_us = time.time_ns() // 1000
        try:
            event = event_pb2.Event.FromString(record.value or b"")
        except DecodeError as error:
            await self._journal.write_unreadable(record, str(error), finish)
            return
        if not (event.id and event.flow_id and event.flow_version):
            text = "it names no event, no flow or no version"
            await self._journal.write_unreadable(record, text, finish)
            return
        progress = Progress()
        try:
            bound = await self._flows.get(event.flow_id, event.flow_version, tenure)
            with self._room.share() as share:
                message = await first_message(event, bound, self._bodies, tenure, share)
                await self._continue(bound.steps, 0, message, progress, tenure)
        except StepFailed as failure:
            progress.attempts += failure.attempts
            ended = Ended(FAILED, started_at_us, progress.attempts)
            ended.step, ended.reason = failure.step_id, str(failure)
            await self._journal.write_failed(
                event, record, ended, finish, indeterminate=failure.indeterminate
            )
            return
        ended = Ended(COMPLETED, started_at_us, progress.attempts)
        ended.results = progress.results
        if progress.filtered_by and not progress.results:
            ended.status, ended.step = FILTERED, progress.filtered_by
        self._journal.write_ended(event, record, ended, finish)

    async def _continue(
        self,
        steps: Sequence[BoundStep],
        index: int,
        message: Message,
        progress: Progress,
        tenure: Tenure,
    ) -> None:
        """Take a message through the steps from one of them on."""
        while index < len(steps):
            step = steps[index]
            index += 1
            if not _applies(step, message):
                continue
            out, attempts = await self._attempts.run(
                step, message.derive(step_id=step.id), tenure
            )
            progress.attempts += attempts
            if not out:
                progress.filtered_by = step.id
                return
            for other in out[:-1]:
                _keep(step, other)
                await self._continue(steps, index, other, progress, tenure)
            message = out[-1]
            _keep(step, message)
        progress.results.append(message.body)


def _applies(step: BoundStep, message: Message) -> bool:
    if step.when is None:
        return True
    try:
        return step.when.truth(message)
    except TerminalError as error:
        raise StepFailed(step.id, 0, error) from error


def _keep(step: BoundStep, message: Message) -> None:
    message.run.steps[step.id] = {
        "body": message.body,
        "headers": message.headers,
        "status": message.status,
    }
