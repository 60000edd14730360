"""The nouns of the house: an event's ids, the message that steps pass on."""

import re
from collections.abc import Mapping
from typing import Any, NewType, Self

from msgspec import Struct, field
from msgspec.structs import replace
from uuid_utils import uuid7

EventId = NewType("EventId", str)
FlowId = NewType("FlowId", str)

FLOW_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

# What JSON can hold: the bodies of messages. `Any`, because expressions decide.
Value = Any


def new_event_id() -> EventId:
    """Make a UUID of version 7: its time is the time of acceptance, so ids sort by it."""
    return EventId(str(uuid7()))


class Attachment(Struct, frozen=True):
    """A file that travels with a message."""

    content_type: str
    content: bytes


class Trigger(Struct, frozen=True):
    """How an execution was started: the request's head and its body as sent."""

    method: str
    path: str
    query: Mapping[str, Value]
    content_type: str
    raw_body: bytes
    headers: Mapping[str, str]
    body: Value


class Run(Struct, frozen=True):
    """One execution: what its messages share. `steps` fills as steps are done."""

    event_id: EventId
    flow_id: FlowId
    flow_version: int
    flow_name: str
    accepted_at_us: int
    trigger: Trigger
    variables: Mapping[str, Value] = field(default_factory=dict)
    steps: dict[str, Value] = field(default_factory=dict)


class Message(Struct, frozen=True):
    """What a step gets and what it passes on: body, headers, attachments.

    `status` is that of the HTTP response which the message was made from, if any.
    `step_id` is the step that has it now.
    """

    run: Run
    body: Value
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    status: int | None = None
    step_id: str = ""

    def derive(self, **changes: Any) -> Self:
        """The same message with some fields changed."""
        return replace(self, **changes)

    @property
    def idempotency_key(self) -> str:
        """Stable over retries and restarts: what third parties tell repeats by."""
        return f"{self.run.event_id}/{self.step_id}"
