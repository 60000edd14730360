"""Step messages as the journal keeps them, and back.

What a message has of its event is named, not repeated: the event is in the log already,
and its files are there, or ranges of its body in the body store.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from hookline.errors import TerminalError
from hookline.event import Attachment, InMemory, Message, Value
from hookline.v1 import execution_pb2

MOST_BYTES: Final = 256 * 1024
UNKEEPABLE: Final = (TypeError, ValueError, RecursionError)


async def keep(message: Message, first: Message) -> execution_pb2.StepMessage:
    """A message for the journal; `first` is the one that its event starts with.

    Raises TerminalError where it holds what JSON cannot, or a file over 256 KiB of its
    own; Unavailable where such a file is in a store that is out of reach.
    """
    kept = execution_pb2.StepMessage(
        event_headers=message.headers is first.headers,
        status=message.status,
        item=message.item,
    )
    if message.body is not first.body:
        kept.body = _encode(message.body)
    if not kept.event_headers:
        kept.headers.update({k: _text(v) for k, v in message.headers.items()})
    for name, attachment in message.attachments.items():
        one = kept.attachments.add(name=name)
        if (of_event := _name_in(first.attachments, name, attachment)) is not None:
            one.of_event = of_event
        else:
            one.content_type = attachment.content_type
            one.content = await attachment.content.whole(MOST_BYTES)
    return kept


def _name_in(
    attachments: Mapping[str, Attachment], likely: str, wanted: Attachment
) -> str | None:
    if attachments.get(likely) is wanted:
        return likely
    return next((name for name, one in attachments.items() if one is wanted), None)


def restore(kept: execution_pb2.StepMessage, first: Message) -> Message:
    """The message that was kept."""
    own = kept.HasField("body")
    return first.derive(
        body=msgspec.json.decode(kept.body) if own else first.body,
        headers=first.headers if kept.event_headers else dict(kept.headers),
        status=kept.status if kept.HasField("status") else None,
        item=kept.item,
        attachments={one.name: _attachment(one, first) for one in kept.attachments},
    )


def _attachment(kept: execution_pb2.StepAttachment, first: Message) -> Attachment:
    if kept.HasField("of_event"):
        return first.attachments[kept.of_event]
    return Attachment(kept.content_type, InMemory(kept.content))


def _encode(body: Value) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UNKEEPABLE as error:
        raise TerminalError(
            f"the step made a body that JSON cannot hold, and cannot be kept: {error}"
        ) from error


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()
