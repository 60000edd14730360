"""Makes a body's value from its raw bytes, by its content type.

The raw bytes are the record; what is made here is a view. Nothing is fetched and nothing
is expanded: XML with a document type or entities is refused, depth and size are bounded.
"""

from functools import lru_cache, partial
from typing import Final, NamedTuple, Self

from hookline.bodies_check import (
    MOST_PARSED_BYTES,
    NO_TYPE,
    BodyCheck,
    RangeOf,
    body_check,
)
from hookline.bodies_form import parse_form
from hookline.bodies_kinds import (
    MOST_CACHED,
    Attachments,
    ParsedBody,
    kind_of,
    read_raw,
)
from hookline.bodies_stored import DecodedRange, StoredRange
from hookline.bodies_thread import in_thread
from hookline.body_store import BodyStore
from hookline.errors import Malformed, MissingContentType, Rejected, Unavailable
from hookline.event import Content, InMemory, Trigger, Value
from hookline.flow import REQUEST_LIMIT_BYTES
from hookline.v1 import event_pb2

__all__ = [
    "Attachments",
    "BodyCheck",
    "Coded",
    "ParsedBody",
    "begin_check",
    "body_check",
    "check",
    "check_anywhere",
    "gathered_size",
    "is_coded",
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


class Coded(Exception):
    """A body has content codings: it is to be read in a thread."""


def trigger_of(
    request: event_pb2.Request, *, raw: bool = False, limit: int = REQUEST_LIMIT_BYTES
) -> tuple[Trigger, Attachments]:
    """What starts an execution: the request's head and its parsed body, which is in line.

    Headers of one name are joined by ", "; values that are not UTF-8 are read as Latin-1.
    `limit` is for the body without its content codings. Raises Malformed,
    MissingContentType or TooLarge.
    """
    return _trigger_in_line(request, _Head.of(request, raw=raw), limit)


def _trigger_in_line(
    request: event_pb2.Request, head: "_Head", limit: int
) -> tuple[Trigger, Attachments]:
    body = request.body
    content = InMemory(body)
    if not body and request.method in WITHOUT_BODY:
        parsed = ParsedBody(head.query)
    elif body and head.encoding:
        reading = head.begin(limit, digests=True)
        reading.feed(body)
        reading.end()
        parsed = reading.parsed(partial(DecodedRange, content, head.encoding))
    else:
        parsed = parse(head.content_type, body, raw=head.raw)
    return head.trigger(request, content, parsed)


async def open_trigger(
    request: event_pb2.Request,
    store: BodyStore | None,
    *,
    raw: bool = False,
    limit: int = REQUEST_LIMIT_BYTES,
) -> tuple[Trigger, Attachments]:
    """As `trigger_of`, wherever the body is; files of a stored body stay in the store.

    Raises what `trigger_of` raises, and what the store raises: Unavailable where it is
    out of reach, TerminalError where the body is not there.
    """
    if request.HasField("stored_body"):
        return await _open_stored(request, store, raw=raw, limit=limit)
    head = _Head.of(request, raw=raw)
    if len(request.body) <= LARGE_BYTES and not head.encoding:
        return _trigger_in_line(request, head, limit)
    return await in_thread(_trigger_in_line, request, head, limit)


def gathered_size(request: event_pb2.Request, *, raw: bool, limit: int) -> int:
    """How many bytes of a stored body are held at once to be parsed, at the most."""
    if not request.HasField("stored_body"):
        return 0
    reading = begin_check(request, raw=raw, limit=limit)
    most = min(limit, MOST_PARSED_BYTES)
    if not reading.gathers:
        return 0
    return most if reading.decodes else min(request.stored_body.size, most)


async def _open_stored(
    request: event_pb2.Request,
    store: BodyStore | None,
    *,
    raw: bool,
    limit: int,
) -> tuple[Trigger, Attachments]:
    if store is None:
        raise Unavailable(NO_STORE)
    head = _Head.of(request, raw=raw)
    # Apart from the request, whose bytes are let go.
    stored = event_pb2.StoredBody()
    stored.CopyFrom(request.stored_body)
    content = StoredRange(store, stored, 0, stored.size, stored.sha256.hex())
    reading = head.begin(limit, digests=True)
    async for piece in content.read():
        await reading.take(piece)
    await reading.finish()
    range_of: RangeOf
    if head.encoding:
        range_of = partial(DecodedRange, content, head.encoding)
    else:
        range_of = partial(StoredRange, store, stored)
    return head.trigger(request, content, reading.parsed(range_of))


def check(
    request: event_pb2.Request,
    *,
    raw: bool = False,
    limit: int = REQUEST_LIMIT_BYTES,
    decodes: bool = True,
) -> tuple[bytes, ...] | None:
    """Whether `trigger_of` will be able to read a request; raises what it raises.

    Gives the elements where the body is a batch of events. Raises Coded where there is a
    coding to take off and it is not to be done here.
    """
    if request.query:
        raw = raw or _asks_for_raw(parse_form(request.query.encode()))
    body = request.body
    if not body and request.method in WITHOUT_BODY:
        return None
    content_type, encoding = _content_headers(request)
    if body and encoding:
        if not decodes:
            raise Coded
        reading = body_check(content_type, encoding, raw=raw, limit=limit)
        reading.feed(body)
        reading.end()
        return reading.events
    return parse(content_type, body, raw=raw).events


async def check_anywhere(
    request: event_pb2.Request, *, raw: bool, limit: int
) -> tuple[bytes, ...] | None:
    """As `check`; in a thread where the body can be much more than it looks."""
    if is_coded(request):
        return await in_thread(check, request, raw=raw, limit=limit)
    return check(request, raw=raw, limit=limit)


def is_coded(request: event_pb2.Request) -> bool:
    """Whether a request's body has content codings."""
    return any(_name_of(one.name) == "content-encoding" for one in request.headers)


def begin_check(request: event_pb2.Request, *, raw: bool, limit: int) -> BodyCheck:
    """The same for a body that comes in pieces; raises nothing before it comes."""
    refusal: Rejected | None = None
    try:
        if request.query:
            raw = raw or _asks_for_raw(parse_form(request.query.encode()))
    except Malformed as error:
        refusal = error
    content_type, encoding = _content_headers(request)
    reading = body_check(content_type, encoding, raw=raw, limit=limit)
    reading.refusal = refusal or reading.refusal
    return reading


def parse(content_type: str | None, body: bytes, *, raw: bool = False) -> ParsedBody:
    """The value and the attachments of a body. Raises Malformed, MissingContentType.

    An empty body without a content type is {}; with `raw` the text itself is the value.
    """
    if content_type is None:
        if body:
            raise MissingContentType(NO_TYPE)
        return ParsedBody({})
    kind = kind_of(content_type)
    return read_raw(body, kind) if raw else kind.read(body, kind)


class _Head(NamedTuple):
    """A request's head as a flow sees it, and how its body is to be read."""

    headers: dict[str, str]
    query: dict[str, Value]
    raw: bool

    @classmethod
    def of(cls, request: event_pb2.Request, *, raw: bool) -> Self:
        headers: dict[str, str] = {}
        for header in request.headers:
            name = _name_of(header.name)
            value = _text_of(header.value)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        query = parse_form(request.query.encode()) if request.query else {}
        return cls(headers, query, raw or _asks_for_raw(query))

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def encoding(self) -> str:
        return self.headers.get("content-encoding", "")

    def begin(self, limit: int, *, digests: bool) -> BodyCheck:
        return body_check(
            self.content_type,
            self.encoding,
            raw=self.raw,
            limit=limit,
            digests=digests,
        )

    def trigger(
        self, request: event_pb2.Request, raw_body: Content, parsed: ParsedBody
    ) -> tuple[Trigger, Attachments]:
        headers = self.headers
        trigger = Trigger(
            method=request.method,
            path=request.path,
            query=self.query,
            content_type=headers.get("content-type", ""),
            raw_body=raw_body,
            headers={**headers, **parsed.headers} if parsed.headers else headers,
            body=parsed.value,
        )
        return trigger, parsed.attachments


def _asks_for_raw(query: dict[str, Value]) -> bool:
    return query.get("raw") == "true"


# Of the names that are looked for in every request: most others need no look.
CONTENT_LENGTHS = frozenset({len("content-type"), len("content-encoding")})


def _content_headers(request: event_pb2.Request) -> tuple[str | None, str]:
    """The content type, where there is one, and the content codings."""
    content_type: str | None = None
    encoding = ""
    for header in request.headers:
        if len(header.name) not in CONTENT_LENGTHS:
            continue
        name = _name_of(header.name)
        if name == "content-type":
            value = _text_of(header.value)
            content_type = value if content_type is None else f"{content_type}, {value}"
        elif name == "content-encoding":
            encoding = f"{encoding}, {_text_of(header.value)}"
    return content_type, encoding


def _name_of(name: bytes) -> str:
    return _short_name_of(name) if len(name) <= MOST_CACHED else _lower(name)


def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()


# Senders write them: what is kept of them is bounded in number and in length.
_short_name_of = lru_cache(maxsize=4096)(_lower)


def _text_of(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
