"""Stop 7, its beginning: an event becomes the message that the first step gets.

A body that is in the body store is fetched from there, when there is room for it if it is
parsed whole. As long as the store does not answer, its event rests, and those of its flow
behind it: nothing fails for that, and nobody else waits.
"""

from typing import Final

from hookline.bodies import Attachments, gathered_size, open_trigger
from hookline.body_store import BodyStore
from hookline.errors import Rejected, TerminalError, Unavailable
from hookline.event import EventId, FlowId, Message, Run, Trigger
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2
from services.executor.failure import Rests, StepFailed
from services.executor.flows import BoundFlow
from services.executor.room import Share
from services.executor.tenure import Tenure

AGAIN_S: Final = 2.0
logger = get_logger(__name__)


async def first_message(
    event: event_pb2.Event,
    bound: BoundFlow,
    store: BodyStore | None,
    tenure: Tenure,
    share: Share,
) -> Message:
    """The message that the first step gets.

    What is made of a stored body counts in the share from then on.

    Raises StepFailed where it cannot be had, Rests while the body's store does not answer,
    CancelledError where the tenure ends first.
    """
    webhook = bound.flow.webhook
    raw, limit = webhook.raw, webhook.max_body
    if size := gathered_size(event.request, raw=raw, limit=limit):
        await share.take(size, tenure)
    try:
        opened = await open_trigger(event.request, store, raw=raw, limit=limit)
    except Unavailable as error:
        logger.warning("event.waits", event_id=event.id, error=str(error))
        raise Rests.seconds(AGAIN_S) from error
    except (Rejected, TerminalError) as error:
        raise _unreadable(error) from error
    return _message(event, bound, *opened)


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
