"""Batches of CloudEvents: one event in the log an element, in their order.

Each element becomes a request like that of an event sent alone. The sender is answered
when all are durable; the default answer lists the ids of the events.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from hookline.bodies_cloudevents import EVENT_TYPE
from hookline.errors import TooLarge
from hookline.event import EventId
from hookline.v1 import event_pb2

OF_THE_BATCH: Final = frozenset(
    {b"content-type", b"content-encoding", b"content-length"}
)

# What the head of a batch may come to in the log, where each element has it.
MOST_HEADS_BYTES: Final = 4 * 1024 * 1024


def requests_of(
    request: event_pb2.Request, events: Sequence[bytes]
) -> Iterator[event_pb2.Request]:
    """The requests that a batch stands for: its head with each element as the body.

    Raises TooLarge where few bytes would become a great many.
    """
    head = event_pb2.Request()
    head.CopyFrom(request)
    head.ClearField("body")
    head.ClearField("stored_body")
    del head.headers[:]
    head.headers.extend(
        header for header in request.headers if header.name.lower() not in OF_THE_BATCH
    )
    head.headers.add(name=b"Content-Type", value=EVENT_TYPE.encode())
    if head.ByteSize() * len(events) > MOST_HEADS_BYTES:
        raise TooLarge(
            f"Each of these {len(events)} events has the {head.ByteSize()} bytes of the "
            "request's path and headers: send fewer at once, or smaller headers."
        )
    for body in events:
        one = event_pb2.Request()
        one.CopyFrom(head)
        one.body = body
        yield one


def reply_of(request_id: str, event_ids: list[EventId]) -> event_pb2.Reply:
    """The answer to a batch where the flow has none of its own."""
    answer = {"requestId": request_id, "message": "thank you", "eventIds": event_ids}
    header = event_pb2.Header(name=b"Content-Type", value=b"application/json")
    body = msgspec.json.encode(answer)
    return event_pb2.Reply(status=200, headers=[header], body=body)
