"""The nouns of the house: an event's ids, the message that steps pass on."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, NewType, Protocol, Self

from msgspec import Struct, field
from msgspec.structs import replace
from uuid_utils import uuid7

from hookline.errors import TerminalError

EventId = NewType("EventId", str)
FlowId = NewType("FlowId", str)

# A body up to this size is in the log, with its event; beyond it in the body store.
IN_LINE_BYTES = 256 * 1024
FLOW_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

# What JSON can hold: the bodies of messages. `Any`, because expressions decide.
Value = Any


def new_event_id() -> EventId:
    """Make a UUID of version 7: its time is the time of acceptance, so ids sort by it."""
    return EventId(str(uuid7()))


class Content(Protocol):
    """Bytes that may be too many to be held: read in pieces, as often as needed."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    @property
    def sha256(self) -> str:
        """Their digest, in hex; known without reading them again."""
        ...

    def read(self) -> AsyncIterator[bytes]:
        """Read from the beginning. Raises Unavailable where the store is out of reach."""
        ...

    async def whole(self, limit: int) -> bytes:
        """All of them, at most so many. Raises TerminalError, and what `read` raises."""
        ...


@dataclass
class InMemory:
    """Content that is here."""

    content: bytes

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self.content)

    @cached_property
    def sha256(self) -> str:
        """Their digest, in hex."""
        return sha256(self.content).hexdigest()

    async def read(self) -> AsyncIterator[bytes]:
        """All in one piece."""
        yield self.content

    async def whole(self, limit: int) -> bytes:
        """All of them. Raises TerminalError where they are more than `limit`."""
        check_held(self.size, limit)
        return self.content


def check_held(size: int, limit: int) -> None:
    """Whether so many bytes may be held in memory. Raises TerminalError."""
    if size > limit:
        raise TerminalError(
            f"{size} bytes are too many here: at most {limit} are taken into memory"
        )


class Attachment(Struct, frozen=True):
    """A file that travels with a message."""

    content_type: str
    content: Content

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.content.size


class Trigger(Struct, frozen=True):
    """How an execution was started: the request's head and its body as sent."""

    method: str
    path: str
    query: Mapping[str, Value]
    content_type: str
    raw_body: Content
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
    `step_id` is the step that has it now; `item` says which one it is of a step's many.
    """

    run: Run
    body: Value
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    status: int | None = None
    step_id: str = ""
    item: str = ""

    def derive(self, **changes: Any) -> Self:
        """The same message with some fields changed."""
        return replace(self, **changes)

    @property
    def idempotency_key(self) -> str:
        """Stable over retries and restarts: what third parties tell repeats by."""
        key = f"{self.run.event_id}/{self.step_id}"
        return f"{key}/{self.item}" if self.item else key
