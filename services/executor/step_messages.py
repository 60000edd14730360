"""Step messages as the journal keeps them, and back.

What a message has of its event is named, not repeated: the event is in the log already.
"""

from typing import Final

import msgspec

from hookline.errors import TerminalError
from hookline.event import Attachment, Message, Value
from hookline.v1 import execution_pb2

UNKEEPABLE: Final = (TypeError, ValueError, RecursionError)


def keep(message: Message, first: Message) -> execution_pb2.StepMessage:
    """A message for the journal; `first` is the one that its event starts with.

    Raises TerminalError where it holds what JSON cannot.
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
        if first.attachments.get(name) is attachment:
            kept.attachments.add(name=name, of_event=True)
        else:
            kept.attachments.add(
                name=name,
                content_type=attachment.content_type,
                content=attachment.content,
            )
    return kept


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
    if kept.of_event:
        return first.attachments[kept.name]
    return Attachment(kept.content_type, kept.content)


def _encode(body: Value) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UNKEEPABLE as error:
        raise TerminalError(
            f"the step made a body that JSON cannot hold, and cannot be kept: {error}"
        ) from error


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()
