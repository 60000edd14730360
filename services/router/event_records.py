"""Stop 5: an event as it stands in the log, put together from its bytes.

Protobuf's fields may be concatenated: so the request is serialized once, and not copied
into its event first.
"""

import time

from hookline.event import EventId
from hookline.v1 import event_pb2
from services.router.keys import Key
from services.router.registry import ServedFlow

# The field `request`, whose value has a length before it.
REQUEST: bytes = b"\x2a"
MORE = 0x80


def record_of(
    served: ServedFlow,
    request: event_pb2.Request,
    event_id: EventId,
    serialized: bytes,
    *,
    key: Key | None = None,
    now_us: int | None = None,
) -> bytes:
    """The record of a request that was accepted now, which is serialized already."""
    begins = event_pb2.Event(
        id=event_id,
        flow_id=request.flow_id,
        flow_version=served.version,
        accepted_at_us=now_us or time.time_ns() // 1000,
    ).SerializeToString()
    record = b"".join((begins, REQUEST, _varint(len(serialized)), serialized))
    return record if key is None else record + _key_fields(key)


def _key_fields(key: Key) -> bytes:
    return event_pb2.Event(
        dedupe_key=key.text, body_digest=key.body_hash, dedupe_window_s=key.window_s
    ).SerializeToString()


def _varint(number: int) -> bytes:
    """A number as protobuf writes it, seven bits a byte."""
    if MORE <= number < MORE * MORE:
        return bytes((number & 0x7F | MORE, number >> 7))
    written = bytearray()
    while number >= MORE:
        written.append(number & 0x7F | MORE)
        number >>= 7
    written.append(number)
    return bytes(written)
