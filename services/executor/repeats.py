"""Stop 7, for what has run already: a repeat ends in its lane, and no step of it starts."""

import time

from hookline.log import Record
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2, execution_pb2
from services.executor.journal import Ended, Finish, Journal
from services.executor.keys import ONCE_MORE, Repeat

logger = get_logger(__name__)


def end_repeat(
    journal: Journal,
    event: event_pb2.Event,
    record: Record,
    repeat: Repeat,
    finish: Finish,
) -> None:
    """Write down that an event is a repeat, and of which one."""
    ended = Ended(execution_pb2.STATUS_DUPLICATE, time.time_ns() // 1000, 0)
    ended.reason = reason_of(event, repeat)
    if repeat.conflict:
        logger.warning(
            "event.conflicts",
            event_id=event.id,
            flow_id=event.flow_id,
            offset=record.offset,
            first_offset=repeat.first_offset,
        )
    journal.write_ended(event, record, ended, finish)


def reason_of(event: event_pb2.Event, repeat: Repeat) -> str:
    """Why it has not run, for a person."""
    if repeat.first_offset == ONCE_MORE:
        return f"{event.id} is in the log once more: its first record has run"
    first = f"{event.id} at offset {repeat.first_offset}"
    if repeat.conflict:
        return (
            f"conflict: its body is another one than that of {first}, which has the same "
            "idempotency key and has run; a new body needs a new key"
        )
    return f"repeats {first}, which has the same idempotency key"
