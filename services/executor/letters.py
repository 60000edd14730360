"""Stop 9, a dead letter's body: a copy of its own, for it is kept longer than its event."""

import asyncio
from typing import Final

from hookline.body_store import BodyStore
from hookline.errors import TerminalError, Unavailable
from hookline.telemetry import get_logger
from hookline.v1 import execution_pb2

AGAIN_S: Final = 2.0
logger = get_logger(__name__)


async def give_own_body(
    letter: execution_pb2.DeadLetter, partition: int, bodies: BodyStore | None
) -> None:
    """Have a dead letter refer to a copy; tries until the store has made it.

    A body that is not there any more stays named, so that it can be told what is missing.
    """
    request = letter.event.request
    if bodies is None or not request.HasField("stored_body"):
        return
    while True:
        try:
            copy = await bodies.copy_for_letter(partition, request.stored_body)
        except Unavailable as error:
            logger.warning(
                "dead_letter.waits", event_id=letter.event.id, error=str(error)
            )
            await asyncio.sleep(AGAIN_S)
        except TerminalError as error:
            logger.warning(
                "dead_letter.bodiless", event_id=letter.event.id, error=str(error)
            )
            return
        else:
            request.stored_body.CopyFrom(copy)
            return
