"""Attachments that a call sends: one as its body, or several in a form.

They are read from where they are while they are sent, and again for each attempt. A form
is the same bytes in each, its boundary too.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from hookline.errors import TerminalError
from hookline.event import Attachment, InMemory, Message, Value, check_held
from hookline.template import Template

FIELD: Final = "file"
# As browsers write names: https://html.spec.whatwg.org/#multipart-form-data
ESCAPES: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
CONTENT_TYPE: Final = str.maketrans({"\r": " ", "\n": " "})


class Part(NamedTuple):
    """A part of a form: its header, and what it holds."""

    header: bytes
    content: Attachment


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart/form-data body of known size, read in pieces."""

    parts: tuple[Part, ...]
    boundary: str

    @property
    def content_type(self) -> str:
        """What the receiver needs to read it."""
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def size(self) -> int:
        """How many bytes it has."""
        framing = len(self._delimiter()) + 2
        each = (len(p.header) + p.content.size + framing for p in self.parts)
        return sum(each) + len(self._delimiter()) + 2

    async def read(self) -> AsyncIterator[bytes]:
        """Read from the beginning. Raises Unavailable where the store is out of reach."""
        for part in self.parts:
            yield self._delimiter() + part.header
            async for piece in part.content.content.read():
                yield piece
            yield b"\r\n"
        yield self._delimiter()[:-2] + b"--\r\n"

    async def whole(self, limit: int) -> bytes:
        """All of it. Raises TerminalError where that is more than `limit`."""
        check_held(self.size, limit)
        return b"".join([piece async for piece in self.read()])

    def _delimiter(self) -> bytes:
        return f"--{self.boundary}\r\n".encode()


def named(template: Template, message: Message) -> Attachment:
    """The attachment that a parameter names. Raises TerminalError."""
    return _attachment(template.text(message), message.attachments)


def form_of(template: Template, fields: Value, message: Message) -> Form:
    """The form of the attachments that a parameter names. Raises TerminalError.

    `fields` is an object, whose members come first.
    """
    if not isinstance(fields, Mapping):
        raise TerminalError(
            "files are sent with the fields of an object: write `body: {}` to send them "
            "alone"
        )
    chosen = list(_chosen(template.value(message), message.attachments))
    parts = (
        *_fields(fields),
        *(_file(field, name, attachment) for field, name, attachment in chosen),
    )
    return Form(parts, _boundary(message, parts))


def _chosen(
    value: Value, attachments: Mapping[str, Attachment]
) -> Iterator[tuple[str, str, Attachment]]:
    """Field, file name and attachment of each that is named."""
    match value:
        case "*":
            pairs = [(FIELD, name) for name in attachments]
        case str():
            pairs = [(FIELD, value)]
        case list():
            pairs = [(FIELD, name) for name in value]
        case dict():
            pairs = list(value.items())
        case None:
            pairs = []
        case _:
            raise TerminalError('attachments are "*", names, or fields and names')
    for field, name in pairs:
        yield field, name, _attachment(name, attachments)


def _attachment(name: Value, attachments: Mapping[str, Attachment]) -> Attachment:
    if isinstance(name, str) and name in attachments:
        return attachments[name]
    there = ", ".join(map(repr, attachments)) or "none"
    raise TerminalError(f"there is no attachment {name!r}; there are: {there}")


def _fields(fields: Mapping[str, Value]) -> Iterator[Part]:
    for name, held in fields.items():
        for value in held if isinstance(held, list) else [held]:
            if value is not None:
                yield _field(name, value)


def _field(name: str, value: Value) -> Part:
    header = f'Content-Disposition: form-data; name="{name.translate(ESCAPES)}"\r\n'
    if isinstance(value, str):
        content = value.encode(errors="replace")
    else:
        try:
            content = msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            text = f"the field {name!r} cannot be written as JSON: {error}"
            raise TerminalError(text) from error
        if isinstance(value, Mapping | list):
            header += "Content-Type: application/json\r\n"
    return Part(f"{header}\r\n".encode(errors="replace"), _held(content))


def _file(field: str, name: str, attachment: Attachment) -> Part:
    kind = attachment.content_type or "application/octet-stream"
    header = (
        f'Content-Disposition: form-data; name="{field.translate(ESCAPES)}"; '
        f'filename="{name.translate(ESCAPES)}"\r\n'
        f"Content-Type: {kind.translate(CONTENT_TYPE)}\r\n\r\n"
    )
    return Part(header.encode(errors="replace"), attachment)


def _held(content: bytes) -> Attachment:
    return Attachment("", InMemory(content))


def _boundary(message: Message, parts: tuple[Part, ...]) -> str:
    """The same for the same form; what is in it cannot be made to hold it."""
    digest = sha256(message.idempotency_key.encode())
    for part in parts:
        digest.update(b"%d:%s" % (len(part.header), part.header))
        digest.update(part.content.content.sha256.encode())
    return f"hookline-{digest.hexdigest()[:40]}"
