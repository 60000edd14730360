"""What a control makes of an execution: a pure function of what is known of it.

What it gives is the execution's next record; everything that follows, follows from the
record, so that a crash at any place changes nothing of what was decided.
"""

from typing import Final

from hookline.v1 import control_pb2, execution_pb2
from services.executor.running import Running

SKIPPED: Final = execution_pb2.STATUS_SKIPPED
CANCELLED: Final = execution_pb2.STATUS_CANCELLED
RUNS: Final = "it runs: no attempt is waited for"
WAITS_ITS_TURN: Final = "it has not begun: it waits for its turn in its flow"
HAS_FAILED: Final = (
    "it has failed for good, and only its on_error steps run: replay it instead"
)
RUNS_UNEDITED: Final = (
    "it runs: cancel it, or wait until it is held or waits for its next attempt"
)
Progress = execution_pb2.ExecutionProgress


def decide(
    control: control_pb2.Control, known: Progress | None, running: Running | None
) -> Progress | str:
    """The next record of an execution that has not ended, or why there is none.

    `known` is what its records say, nothing where there are none; `running` is there
    where it runs now.
    """
    known = known or Progress()
    if known.HasField("decided"):
        status = execution_pb2.Status.Name(known.decided.status)
        return f"it is {status.removeprefix('STATUS_').lower()} already"
    match control.WhichOneof("what"):
        case "retry_now":
            return _retry(known, running)
        case "skip":
            return _end(SKIPPED, control, known, running)
        case "cancel":
            return _end(CANCELLED, control, known, running)
        case "edit_and_retry":
            return _edit(control.edit_and_retry, known, running)
    return "what is asked is not known here: a newer version may have asked it"


def _next(known: Progress) -> Progress:
    return Progress(
        number=known.number + 1,
        started_at_us=known.started_at_us,
        attempts=known.held.attempts or known.attempts,
    )


def _retry(known: Progress, running: Running | None) -> Progress | str:
    """Attempts are counted anew where it had failed for good, and go on where not."""
    if running is not None:
        return RUNS
    if not known.HasField("held") and not known.HasField("failed"):
        return WAITS_ITS_TURN
    progress = _next(known)
    if known.HasField("failed"):
        progress.failed.CopyFrom(known.failed)
        progress.failed.next_at_us = 0
    return progress


def _end(
    status: "execution_pb2.Status.ValueType",
    control: control_pb2.Control,
    known: Progress,
    running: Running | None,
) -> Progress:
    progress = _next(known)
    progress.decided.status, progress.decided.by = status, control.by
    if running is not None and running.step is not None:
        progress.decided.step = running.step.id
    for doing in ("started", "failed", "held"):
        if known.HasField(doing):
            getattr(progress, doing).CopyFrom(getattr(known, doing))
    return progress


def _edit(
    edit: control_pb2.EditAndRetry, known: Progress, running: Running | None
) -> Progress | str:
    if known.HasField("failing"):
        return HAS_FAILED
    if running is not None:
        return RUNS_UNEDITED
    progress = _next(known)
    progress.edited.edit.CopyFrom(edit)
    progress.edited.number = known.edited.number + 1
    return progress
