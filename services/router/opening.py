"""Stop 3, its middle: a body is read once, for all that the router has to know of it.

Whether it parses, its elements where it is a batch, its idempotency key, and the request
as expressions see it where the flow's answer is computed from it.
"""

from typing import NamedTuple

from hookline import bodies
from hookline.event import Trigger
from hookline.v1 import event_pb2
from services.router.keys import Key
from services.router.registry import ServedFlow


class Opened(NamedTuple):
    """What is known of a request: `serialized` is itself, as it goes into the log.

    `events` are the elements where the body is a batch, `trigger` the request as it was
    parsed, if it was.
    """

    serialized: bytes
    events: tuple[bytes, ...] | None = None
    trigger: Trigger | None = None
    key: Key | None = None


def open_body(
    served: ServedFlow, request: event_pb2.Request, *, decodes: bool
) -> Opened:
    """Read a body. Raises Rejected, and Coded where that is not to be done here."""
    limit, trigger = served.max_body, None
    if served.computed_reply is not None:
        events, trigger = served.computed_reply.read(request, limit, decodes=decodes)
    else:
        events = bodies.check(request, raw=served.raw, limit=limit, decodes=decodes)
    serialized = request.SerializeToString()
    if events is not None or not served.keying.is_possible(serialized):
        return Opened(serialized, events, trigger)
    key = served.keying.key_of(request, trigger, limit)
    return Opened(serialized, None, trigger, key)


def open_head(served: ServedFlow, head: event_pb2.Request) -> Opened:
    """What the head tells of a request whose body is in the body store."""
    serialized = head.SerializeToString()
    if not served.keying.is_possible(serialized):
        return Opened(serialized)
    key = served.keying.key_of(head, None, served.max_body)
    return Opened(serialized, key=key)


def open_published(served: ServedFlow, request: event_pb2.Request, key: str) -> Opened:
    """The same for a message of an internal service, which may bring its key."""
    if key and not served.keying.has_own:
        made = served.keying.published(request, key)
        return Opened(request.SerializeToString(), key=made)
    return open_head(served, request)
