"""Makes a body's value from its raw bytes, by its content type.

The raw bytes are the record; what is made here is a view. Nothing is fetched and nothing
is expanded: XML with a document type or entities is refused, depth and size are bounded.
"""

import asyncio
from functools import lru_cache
from typing import Final

from hookline.bodies_check import NO_TYPE, BodyCheck, body_check
from hookline.bodies_encoding import decoded
from hookline.bodies_form import parse_form
from hookline.bodies_kinds import (
    NO_ATTACHMENTS,
    Attachments,
    ParsedBody,
    kind_of,
    read_raw,
)
from hookline.bodies_stored import StoredBodies, StoredRange
from hookline.errors import MissingContentType, Unavailable
from hookline.event import Content, InMemory, Trigger, Value
from hookline.flow import REQUEST_LIMIT_BYTES
from hookline.v1 import event_pb2

__all__ = [
    "Attachments",
    "BodyCheck",
    "ParsedBody",
    "body_check",
    "check",
    "open_trigger",
    "parse",
    "trigger_of",
]

WITHOUT_BODY: Final = frozenset({"GET", "DELETE"})
# From this size on a body that is parsed whole is parsed in a thread.
LARGE_BYTES: Final = 64 * 1024
NO_STORE: Final = (
    "the body is in the body store, and none is configured here: set "
    "HOOKLINE_BODIES__STORE as the routers have it"
)


def trigger_of(
    request: event_pb2.Request, *, raw: bool = False, limit: int = REQUEST_LIMIT_BYTES
) -> tuple[Trigger, Attachments]:
    """What starts an execution: the request's head and its parsed body, which is in line.

    Headers of one name are joined by ", "; values that are not UTF-8 are read as Latin-1.
    `limit` is for the body without its content codings. Raises Malformed,
    MissingContentType or TooLarge.
    """
    headers = _headers_of(request)
    query = _query_of(request)
    body = request.body
    if not body and request.method in WITHOUT_BODY:
        parsed = ParsedBody(query, NO_ATTACHMENTS)
    else:
        if body and (encoding := headers.get("content-encoding")):
            body = decoded(body, encoding, limit)
        raw = raw or _asks_for_raw(query)
        parsed = parse(headers.get("content-type"), body, raw=raw)
    return _trigger(request, headers, query, InMemory(request.body), parsed)


async def open_trigger(
    request: event_pb2.Request,
    store: StoredBodies | None,
    *,
    raw: bool = False,
    limit: int = REQUEST_LIMIT_BYTES,
) -> tuple[Trigger, Attachments]:
    """As `trigger_of`, wherever the body is; files of a stored body stay in the store.

    Raises Unavailable where the store is out of reach, and what `trigger_of` raises.
    """
    if request.HasField("stored_body"):
        return await _open_stored(request, store, raw=raw, limit=limit)
    if len(request.body) <= LARGE_BYTES:
        return trigger_of(request, raw=raw, limit=limit)
    return await asyncio.to_thread(trigger_of, request, raw=raw, limit=limit)


async def _open_stored(
    request: event_pb2.Request,
    store: StoredBodies | None,
    *,
    raw: bool,
    limit: int,
) -> tuple[Trigger, Attachments]:
    if store is None:
        raise Unavailable(NO_STORE)
    headers = _headers_of(request)
    query = _query_of(request)
    encoding = headers.get("content-encoding", "")
    stored = event_pb2.StoredBody.FromString(request.stored_body.SerializeToString())
    reading = body_check(
        headers.get("content-type"),
        encoding,
        raw=raw or _asks_for_raw(query),
        limit=limit,
        digests=True,
    )
    async for piece in store.read(stored):
        reading.feed(piece)
    if reading.gathers:
        await asyncio.to_thread(reading.end)
    else:
        reading.end()

    def range_of(start: int, size: int, digest: str) -> Content:
        return StoredRange(store, stored, encoding, start, size, digest)

    whole = StoredRange(store, stored, "", 0, stored.size, stored.sha256.hex())
    return _trigger(request, headers, query, whole, reading.parsed(range_of))


def check(
    request: event_pb2.Request, *, raw: bool = False, limit: int = REQUEST_LIMIT_BYTES
) -> tuple[bytes, ...] | None:
    """Whether `trigger_of` will be able to read a request; raises what it raises.

    Gives the elements where the body is a batch of events.
    """
    if request.query:
        raw = raw or _asks_for_raw(parse_form(request.query.encode()))
    body = request.body
    if not body and request.method in WITHOUT_BODY:
        return None
    content_type, encoding = _content_headers(request)
    if body and encoding:
        body = decoded(body, encoding, limit)
    return parse(content_type, body, raw=raw).events


def parse(content_type: str | None, body: bytes, *, raw: bool = False) -> ParsedBody:
    """The value and the attachments of a body. Raises Malformed, MissingContentType.

    An empty body without a content type is {}; with `raw` the text itself is the value.
    """
    if content_type is None:
        if body:
            raise MissingContentType(NO_TYPE)
        return ParsedBody({}, NO_ATTACHMENTS)
    kind = kind_of(content_type)
    return read_raw(body, kind) if raw else kind.read(body, kind)


def _trigger(
    request: event_pb2.Request,
    headers: dict[str, str],
    query: dict[str, Value],
    raw_body: Content,
    parsed: ParsedBody,
) -> tuple[Trigger, Attachments]:
    content_type = headers.get("content-type", "")
    if parsed.headers:
        headers |= parsed.headers
    trigger = Trigger(
        method=request.method,
        path=request.path,
        query=query,
        content_type=content_type,
        raw_body=raw_body,
        headers=headers,
        body=parsed.value,
    )
    return trigger, parsed.attachments


def _headers_of(request: event_pb2.Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for header in request.headers:
        name = _name_of(header.name)
        value = _text_of(header.value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _query_of(request: event_pb2.Request) -> dict[str, Value]:
    return parse_form(request.query.encode()) if request.query else {}


def _asks_for_raw(query: dict[str, Value]) -> bool:
    return query.get("raw") == "true"


def _content_headers(request: event_pb2.Request) -> tuple[str | None, str]:
    """The content type, where there is one, and the content codings."""
    content_type: str | None = None
    encoding = ""
    for header in request.headers:
        name = _name_of(header.name)
        if name == "content-type":
            value = _text_of(header.value)
            content_type = value if content_type is None else f"{content_type}, {value}"
        elif name == "content-encoding":
            encoding = f"{encoding}, {_text_of(header.value)}"
    return content_type, encoding


@lru_cache(maxsize=4096)
def _name_of(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _text_of(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
