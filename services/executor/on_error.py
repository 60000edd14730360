"""What the steps of `on_error` get: the event that has failed for good, and why."""

from msgspec.structs import replace

from hookline.event import EventId, FlowId, InMemory, Message, Run, Trigger
from hookline.v1 import event_pb2
from services.executor.flows import BoundFlow
from services.executor.journal import Ended


def error_message(first: Message, ended: Ended) -> Message:
    """`{error, step, event}`, with the event's headers and files; no step is behind it."""
    run = first.run
    body = {
        "error": ended.reason,
        "step": ended.step,
        "attempts": ended.attempts,
        "indeterminate": ended.indeterminate,
        "event": {
            "id": run.event_id,
            "flow": run.flow_id,
            "accepted_at_ms": run.accepted_at_us // 1000,
            "body": first.body,
        },
    }
    return first.derive(run=replace(run, steps={}), body=body)


def bare_message(event: event_pb2.Event, bound: BoundFlow) -> Message:
    """The message of an event whose body cannot be read: it has none."""
    request = event.request
    trigger = Trigger(request.method, request.path, {}, "", InMemory(b""), {}, None)
    run = Run(
        event_id=EventId(event.id),
        flow_id=FlowId(event.flow_id),
        flow_version=event.flow_version,
        flow_name=bound.flow.name,
        accepted_at_us=event.accepted_at_us,
        trigger=trigger,
        variables=bound.flow.vars,
    )
    return Message(run, None)
