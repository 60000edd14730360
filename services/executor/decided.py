"""What comes of a person's decision: the end it gives, and the event that it makes."""

from hookline.v1 import control_pb2, event_pb2, execution_pb2
from services.executor.journal import Ended

# What is edited is the body as it is read: it has no content coding.
OF_THE_OLD_BODY = (b"content-encoding", b"content-length")
FAILED = execution_pb2.STATUS_FAILED


def end_decided(known: execution_pb2.ExecutionProgress, ran: str = "") -> Ended:
    """The end of an execution of which a person has decided.

    `ran` is the step with effects that was cut off, or may have been by a crash.
    """
    decided = known.decided
    name = execution_pb2.Status.Name(decided.status).removeprefix("STATUS_").lower()
    by = f"{name} by {decided.by}" if decided.by else name
    if known.HasField("failing"):
        ended = ended_failing(known)
        ended.on_error = f"the steps of on_error were {by}"
        return ended
    attempts = known.held.attempts or known.attempts
    ended = Ended(decided.status, known.started_at_us, attempts, reason=by)
    if known.HasField("held"):
        held = known.held
        ended.step, ended.indeterminate = held.step, held.indeterminate
        ended.reason = f"{by}; it was held: {held.reason}"
    elif ran:
        ended.step, ended.indeterminate = ran, True
        ended.reason = f"{by} while this step ran: its work may have been done"
    elif known.HasField("failed"):
        ended.step = known.failed.step
        ended.reason = f"{by}; its last attempt had failed: {known.failed.error}"
    return ended


def ended_failing(known: execution_pb2.ExecutionProgress) -> Ended:
    """The end of an execution that had failed for good before `on_error` began."""
    failing = known.failing
    return Ended(
        FAILED,
        known.started_at_us,
        failing.attempts,
        step=failing.step,
        reason=failing.reason,
        indeterminate=failing.indeterminate,
    )


def edited_event(
    event: event_pb2.Event, edit: control_pb2.EditAndRetry
) -> event_pb2.Event:
    """The event as if it had been sent like that."""
    edited = event_pb2.Event()
    edited.CopyFrom(event)
    if edit.HasField("body"):
        edited.request.body = edit.body
        edited.request.ClearField("stored_body")
    headers = edit.headers or [
        one
        for one in event.request.headers
        if not edit.HasField("body") or one.name.lower() not in OF_THE_OLD_BODY
    ]
    del edited.request.headers[:]
    edited.request.headers.extend(headers)
    return edited
