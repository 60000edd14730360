"""Makes a body's value from its raw bytes, by its content type.

The raw bytes are the record; what is made here is a view. Nothing is fetched and nothing
is expanded: XML with a document type or entities is refused, depth and size are bounded.
"""

import codecs
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from hookline.bodies_form import parse_form
from hookline.bodies_xml import parse_xml
from hookline.errors import Malformed, MissingContentType
from hookline.event import Attachment, Trigger, Value
from hookline.v1 import event_pb2

INTEGER_DIGITS: Final = 4_300
WITHOUT_BODY: Final = frozenset({"GET", "DELETE"})
USUAL_EXTENSIONS: Final = {"image/jpeg": ".jpg", "application/octet-stream": ".bin"}
Attachments = Mapping[str, Attachment]
NO_ATTACHMENTS: Final[Attachments] = {}
_decode_json = msgspec.json.Decoder().decode


class ParsedBody(NamedTuple):
    """A body as a flow sees it."""

    value: Value
    attachments: Attachments


def trigger_of(
    request: event_pb2.Request, *, raw: bool = False
) -> tuple[Trigger, Attachments]:
    """What starts an execution: the request's head and its parsed body.

    Headers of one name are joined by ", "; values that are not UTF-8 are read as Latin-1.
    Raises Malformed or MissingContentType.
    """
    headers: dict[str, str] = {}
    for header in request.headers:
        name = _name_of(header.name)
        value = _text_of(header.value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    content_type = headers.get("content-type")
    query = parse_form(request.query.encode()) if request.query else {}
    body = request.body
    if not body and request.method in WITHOUT_BODY:
        parsed = ParsedBody(query, NO_ATTACHMENTS)
    else:
        parsed = parse(content_type, body, raw=raw)
    trigger = Trigger(
        method=request.method,
        path=request.path,
        query=query,
        content_type=content_type or "",
        raw_body=body,
        headers=headers,
        body=parsed.value,
    )
    return trigger, parsed.attachments


def check(request: event_pb2.Request, *, raw: bool = False) -> None:
    """Whether `trigger_of` will be able to read a request; raises what it raises."""
    if request.query:
        parse_form(request.query.encode())
    if request.body or request.method not in WITHOUT_BODY:
        parse(_content_type(request), request.body, raw=raw)


def is_parsed(request: event_pb2.Request) -> bool:
    """Whether a body of this type is parsed; otherwise it is a file."""
    content_type = _content_type(request)
    return content_type is None or _kind_of(content_type).parse is not None


def _content_type(request: event_pb2.Request) -> str | None:
    values = [h.value for h in request.headers if _name_of(h.name) == "content-type"]
    return ", ".join(map(_text_of, values)) if values else None


@lru_cache(maxsize=4096)
def _name_of(name: bytes) -> str:
    return name.decode("latin-1").lower()


def parse(content_type: str | None, body: bytes, *, raw: bool = False) -> ParsedBody:
    """The value and the attachments of a body. Raises Malformed, MissingContentType.

    An empty body without a content type is {}; with `raw` the text itself is the value.
    """
    if content_type is None:
        if body:
            raise MissingContentType(
                "Send a Content-Type header with the body: any type is accepted."
            )
        return ParsedBody({}, NO_ATTACHMENTS)
    kind = _kind_of(content_type)
    if raw:
        return ParsedBody(_decode(body, kind.charset), NO_ATTACHMENTS)
    if kind.parse is None:
        return _as_file(kind.media_type, body)
    if not body and kind.empty_is_nothing:
        return ParsedBody({}, NO_ATTACHMENTS)
    return ParsedBody(kind.parse(body, kind.charset), NO_ATTACHMENTS)


@dataclass(frozen=True, slots=True)
class _Kind:
    media_type: str
    charset: str
    parse: Callable[[bytes, str], Value] | None
    empty_is_nothing: bool = False


@lru_cache(maxsize=1024)
def _kind_of(content_type: str) -> _Kind:  # noqa: PLR0911 - a table
    media_type, *parameters = content_type.split(";")
    media_type = media_type.strip().lower()
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower() or charset
    match media_type:
        case "application/json" | "text/json":
            return _Kind(media_type, charset, _json)
        case "application/xml" | "text/xml":
            return _Kind(media_type, _declared(content_type, charset), parse_xml)
        case "application/x-www-form-urlencoded":
            return _Kind(media_type, charset, _form, empty_is_nothing=True)
        case "text/plain":
            return _Kind(media_type, charset, _text)
    if media_type.endswith("+json"):
        return _Kind(media_type, charset, _json)
    if media_type.endswith("+xml"):
        return _Kind(media_type, _declared(content_type, charset), parse_xml)
    return _Kind(media_type, charset, None)


def _declared(content_type: str, charset: str) -> str:
    """The charset where the header names one; otherwise XML's own declaration rules."""
    return charset if "charset" in content_type.lower() else ""


def _json(body: bytes, charset: str) -> Value:
    if charset not in ("utf-8", "utf8", "us-ascii"):
        body = _decode(body, charset).encode()
    elif body.startswith(codecs.BOM_UTF8):
        body = body[3:]
    try:
        return _decode_json(body)
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise Malformed(
            f"The body is not JSON: byte {error.start} is not UTF-8"
        ) from error
    except RecursionError as error:
        raise Malformed("The body is not JSON of a sensible depth") from error
    except ValueError as error:
        raise Malformed(
            f"The body has an integer of more than {INTEGER_DIGITS} digits"
        ) from error


def _form(body: bytes, _charset: str) -> Value:
    return parse_form(body)


def _text(body: bytes, charset: str) -> Value:
    text = _decode(body, charset)
    try:
        return _decode_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text


def _decode(body: bytes, charset: str) -> str:
    try:
        text = body.decode(charset or "utf-8")
    except LookupError as error:
        raise Malformed(f"There is no charset {charset!r}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise Malformed(f"The body is not {charset or 'utf-8'}: {error}") from error
    if not isinstance(text, str):
        raise Malformed(f"{charset!r} is no charset for text")
    return text


def _text_of(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _as_file(media_type: str, body: bytes) -> ParsedBody:
    extension = USUAL_EXTENSIONS.get(media_type)
    extension = extension or mimetypes.guess_extension(media_type) or ".bin"
    return ParsedBody({}, {f"payload{extension}": Attachment(media_type, body)})
