"""What people decide about single events, put into the log.

A control is not queued behind what it controls: it has a topic of its own, and the owner
of its event's partition carries it out when it reads it, once, also through crashes.
"""

import time

from uuid_utils import uuid7

from hookline.errors import Malformed, TooLarge
from hookline.event import FLOW_ID, IN_LINE_BYTES
from hookline.log import Log, Position, partition_of
from hookline.topics import Topics
from hookline.v1 import control_pb2


async def ask(log: Log, topics: Topics, control: control_pb2.Control) -> Position:
    """Append a control; where this returns it is durable, and will be carried out.

    Gives it an id and a time where it has none. What it comes to is in the journal.

    Raises Unavailable: it may be in the log or not; asking again with the same control,
    whose id it has now, is safe. Raises Malformed where it does not say which event is
    meant, or what is to be done; TooLarge where what was edited is too large for the log.
    """
    _check(control, topics)
    control.id = control.id or str(uuid7())
    control.asked_at_us = control.asked_at_us or time.time_ns() // 1000
    key = control.flow_id.encode()
    return await log.append(topics.controls, key, control.SerializeToString())


def _check(control: control_pb2.Control, topics: Topics) -> None:
    if not control.event_id or not FLOW_ID.fullmatch(control.flow_id):
        raise Malformed("name the event and its flow")
    if control.partition != partition_of(
        control.flow_id.encode(), topics.controls.partitions
    ):
        raise Malformed(
            f"events of flow {control.flow_id!r} are not in partition "
            f"{control.partition}: give the event's own position"
        )
    if control.WhichOneof("what") is None:
        raise Malformed(
            "say what is to be done: retry, skip, cancel, or edit and retry"
        )
    if control.edit_and_retry.ByteSize() > IN_LINE_BYTES:
        raise TooLarge(
            f"an edited body and its headers have at most {IN_LINE_BYTES:,} bytes "
            f"together: send what is larger as a new event"
        )
