"""What a content type says of a body, and the value that a whole body has by it."""

import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from hookline.bodies_cloudevents import (
    BATCH_TYPE,
    EVENT_TYPE,
    read_event,
    split_batch,
)
from hookline.bodies_form import parse_form
from hookline.bodies_multipart import File, Multipart, boundary_of
from hookline.bodies_text import decode, parse_json, parse_text
from hookline.bodies_xml import parse_xml
from hookline.errors import Malformed
from hookline.event import Attachment, InMemory, Value

USUAL_EXTENSIONS: Final = {"image/jpeg": ".jpg", "application/octet-stream": ".bin"}
Attachments = Mapping[str, Attachment]
NO_ATTACHMENTS: Final[Attachments] = {}
MOST_CACHED: Final = 128
NO_HEADERS: Final[Mapping[str, str]] = {}


class ParsedBody(NamedTuple):
    """A body as a flow sees it.

    `headers` are those that the body itself holds. `events` are the elements of a batch,
    each a body of its own of the type `EVENT_TYPE`; None where it is no batch.
    """

    value: Value
    attachments: Attachments = NO_ATTACHMENTS
    headers: Mapping[str, str] = NO_HEADERS
    events: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A content type. `boundary` is set where the body is in parts."""

    media_type: str
    charset: str
    read: Callable[[bytes, "Kind"], ParsedBody]
    boundary: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether the whole body is one attachment."""
        return self.read is _read_file

    @property
    def file_name(self) -> str:
        """What the attachment is called."""
        extension = USUAL_EXTENSIONS.get(self.media_type)
        extension = extension or mimetypes.guess_extension(self.media_type) or ".bin"
        return f"payload{extension}"


def kind_of(content_type: str) -> Kind:
    """What a content type says. Raises nothing: any type is taken."""
    if len(content_type) <= MOST_CACHED:
        return _short_kind_of(content_type)
    return _kind_of(content_type)


def _kind_of(content_type: str) -> Kind:
    media_type, *parameters = content_type.split(";")
    media_type = media_type.strip().lower()
    charset = ""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    if media_type == "multipart/form-data":
        boundary = boundary_of(content_type)
        return Kind(media_type, "utf-8", _read_multipart, boundary)
    if media_type.endswith(("/xml", "+xml")):
        # Where the header names none, XML's own declaration rules.
        return Kind(media_type, charset, _read_xml)
    return Kind(media_type, charset or "utf-8", _reader(media_type))


# Senders write them: what is kept of them is bounded in number and in length.
_short_kind_of = lru_cache(maxsize=1024)(_kind_of)


def read_raw(body: bytes, kind: Kind) -> ParsedBody:
    """A body that is not parsed: its text. Raises Malformed."""
    return ParsedBody(decode(body, kind.charset))


def read_field(content_type: str, body: bytes) -> Value:
    """The value of a form's field: by its type where that is JSON, else its text."""
    kind = kind_of(content_type or "text/plain")
    if kind.read is _read_json:
        return parse_json(body, kind.charset)
    return decode(body, kind.charset)


def read_parts(
    parts: Multipart, attachment: Callable[[File], Attachment]
) -> ParsedBody:
    """The body that has these parts."""
    files = {file.name: attachment(file) for file in parts.files}
    return ParsedBody(parts.fields, files)


def _reader(media_type: str) -> Callable[[bytes, Kind], ParsedBody]:
    match media_type:
        case "application/x-www-form-urlencoded":
            return _read_form
        case "text/plain":
            return _read_text
        case _ if media_type == EVENT_TYPE:
            return _read_event
        case _ if media_type == BATCH_TYPE:
            return _read_batch
        case "application/json" | "text/json":
            return _read_json
    return _read_json if media_type.endswith("+json") else _read_file


def _read_json(body: bytes, kind: Kind) -> ParsedBody:
    return ParsedBody(parse_json(body, kind.charset))


def _read_xml(body: bytes, kind: Kind) -> ParsedBody:
    return ParsedBody(parse_xml(body, kind.charset))


def _read_form(body: bytes, _kind: Kind) -> ParsedBody:
    return ParsedBody(parse_form(body) if body else {})


def _read_text(body: bytes, kind: Kind) -> ParsedBody:
    return ParsedBody(parse_text(body, kind.charset))


def _read_file(body: bytes, kind: Kind) -> ParsedBody:
    attachment = Attachment(kind.media_type, InMemory(body))
    return ParsedBody({}, {kind.file_name: attachment})


def _read_multipart(body: bytes, kind: Kind) -> ParsedBody:
    parts = Multipart(kind.boundary or "", read_field)
    parts.feed(body)
    parts.end()

    def attachment(file: File) -> Attachment:
        content = body[file.start : file.start + file.size]
        return Attachment(file.content_type, InMemory(content))

    return read_parts(parts, attachment)


def _read_event(body: bytes, kind: Kind) -> ParsedBody:
    event = read_event(body, kind.charset)
    if event.content is None:
        return ParsedBody(event.value, headers=event.headers)
    inner = kind_of(event.content_type)
    if inner.read in (_read_event, _read_batch):
        raise Malformed("The CloudEvent's data is an event again: send that alone")
    return inner.read(event.content, inner)._replace(headers=event.headers)


def _read_batch(body: bytes, kind: Kind) -> ParsedBody:
    events = split_batch(body, kind.charset)
    of_one = kind_of(EVENT_TYPE)
    for number, event in enumerate(events):
        try:
            _read_event(event, of_one)
        except Malformed as error:
            raise Malformed(f"Event {number} of the batch: {error}") from error
    return ParsedBody(parse_json(body, kind.charset), events=events)
