"""Stop 7, its beginning: an event becomes the message that the first step gets.

A body that is in the body store is fetched from there. As long as the store does not
answer, its event waits, and those of its flow behind it: nothing fails for that.
"""

import asyncio
from typing import Final

from hookline.bodies import Attachments, trigger_of
from hookline.body_store import BodyStore
from hookline.errors import Rejected, TerminalError, Unavailable
from hookline.event import EventId, FlowId, Message, Run, Trigger
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2
from services.executor.failure import StepFailed
from services.executor.flows import BoundFlow
from services.executor.tenure import Tenure

AGAIN_S: Final = 2.0
NO_STORE = (
    "the event's body is in the body store, and none is configured here: set "
    "HOOKLINE_BODIES__STORE as it is set for routers"
)
logger = get_logger(__name__)


def first_message(event: event_pb2.Event, bound: BoundFlow) -> Message:
    """The message that the first step gets. Raises StepFailed where it cannot be had."""
    try:
        trigger, attachments = trigger_of(event.request, raw=bound.flow.webhook.raw)
    except Rejected as error:
        raise _unreadable(error) from error
    return _message(event, bound, trigger, attachments)


async def stored_message(
    event: event_pb2.Event, bound: BoundFlow, store: BodyStore | None, tenure: Tenure
) -> Message:
    """The same of an event whose body is in the store; waits until the store answers.

    Raises CancelledError where the tenure ends first.
    """
    while True:
        try:
            opened = await _open(event.request, store, raw=bound.flow.webhook.raw)
        except Unavailable as error:
            logger.warning("event.waits", event_id=event.id, error=str(error))
        except (Rejected, TerminalError) as error:
            raise _unreadable(error) from error
        else:
            return _message(event, bound, *opened)
        await tenure.wait(AGAIN_S)


async def _open(
    request: event_pb2.Request, store: BodyStore | None, *, raw: bool
) -> tuple[Trigger, Attachments]:
    if store is None:
        raise Unavailable(NO_STORE)
    whole = event_pb2.Request()
    whole.CopyFrom(request)
    whole.body = b"".join([piece async for piece in store.read(request.stored_body)])
    return await asyncio.to_thread(trigger_of, whole, raw=raw)


def _unreadable(error: Exception) -> StepFailed:
    return StepFailed("", 0, TerminalError(f"the body cannot be read: {error}"))


def _message(
    event: event_pb2.Event,
    bound: BoundFlow,
    trigger: Trigger,
    attachments: Attachments,
) -> Message:
    run = Run(
        event_id=EventId(event.id),
        flow_id=FlowId(event.flow_id),
        flow_version=event.flow_version,
        flow_name=bound.flow.name,
        accepted_at_us=event.accepted_at_us,
        trigger=trigger,
        variables=bound.flow.vars,
    )
    return Message(run, trigger.body, trigger.headers, attachments)
