"""Calls of other systems: the parameters they share, and the request made of them."""

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Annotated, Any, Final, Self
from urllib.parse import urlencode

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hookline import components
from hookline.components.files import form_of, named
from hookline.errors import TerminalError
from hookline.event import Content, InMemory, Message, Value
from hookline.flow import Method
from hookline.flow_fields import Duration
from hookline.http_client import OutgoingRequest, Streamed
from hookline.template import Template

TIMEOUT_S: Final = 30.0
WITHOUT_BODY: Final = frozenset({"GET", "DELETE"})
TRACE_ID: Final = re.compile(r"(?!0{32})[0-9a-f]{32}", re.ASCII)


def _http(template: Template) -> Template:
    source = template.source
    if not isinstance(source, str):
        raise ValueError("write a URL, or an expression that gives one")  # noqa: TRY004 - pydantic's
    computed = template.is_expression or source.startswith("${secret:")
    if not computed and not re.match(r"(?i)https?://[^/]", source):
        raise ValueError('a URL begins with "https://" or "http://"')
    return template


def _object(template: Template) -> Template:
    if not isinstance(template.source, dict) and not template.is_expression:
        raise ValueError("write names and values, or an expression that gives them")
    return template


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


Url = Annotated[Template, AfterValidator(_http)]
Object = Annotated[Template, AfterValidator(_object)]
Status = Annotated[int, Field(ge=100, le=599)]
Statuses = Annotated[tuple[Status, ...], BeforeValidator(_as_list), Field(min_length=1)]


class CallParameters(components.Parameters):
    """What every call may say: where, how, with what body, for how long."""

    method: Method = "POST"
    url: Url
    headers: Object | None = None
    body: Template | None = None
    raw: bool = False
    attachment: Template | None = None
    attachments: Template | None = None
    timeout: Duration = TIMEOUT_S

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.raw and self.body is not None:
            raise ValueError("raw sends the event's own bytes: leave out body or raw")
        one = [self.raw, self.attachment is not None, self.attachments is not None]
        if sum(one) > 1:
            raise ValueError("write one of raw, attachment and attachments")
        if self.attachment is not None and self.body is not None:
            raise ValueError(
                "attachment is the whole body: leave out body, or write attachments"
            )
        return self


def request_for(
    parameters: CallParameters, message: Message, query: Template | None = None
) -> OutgoingRequest:
    """The request that a message becomes. Raises TerminalError."""
    content_type, body = _content(parameters, message)
    headers = standing_headers(message)
    if content_type:
        headers["content-type"] = content_type
    coding = message.run.trigger.headers.get("content-encoding")
    if parameters.raw and coding:
        headers["content-encoding"] = coding
    if parameters.headers is not None:
        rendered = _texts(parameters.headers, message)
        headers |= {name.lower(): value for name, value in rendered.items()}
    url = parameters.url.text(message)
    if query is not None:
        url = with_query(url, _pairs(query, message))
    held, streamed = (body, None) if isinstance(body, bytes) else (b"", body)
    return OutgoingRequest(
        parameters.method, url, headers, held, parameters.timeout, streamed
    )


def standing_headers(message: Message) -> dict[str, str]:
    """What every call carries: the key that tells repeats apart, and the trace.

    The trace id (W3C Trace Context) is the event's id.
    """
    headers = {"idempotency-key": message.idempotency_key}
    trace_id = message.run.event_id.replace("-", "")
    if TRACE_ID.fullmatch(trace_id):
        headers["traceparent"] = f"00-{trace_id}-{token_hex(8)}-01"
    return headers


def json_request(
    url: str, body: Value, headers: Mapping[str, str], timeout_s: float
) -> OutgoingRequest:
    """A POST of JSON."""
    sent = {**headers, "content-type": "application/json"}
    return OutgoingRequest("POST", url, sent, encoded(body), timeout_s)


def encoded(value: Value) -> bytes:
    """A value as JSON. Raises TerminalError where it cannot be written so."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TerminalError(f"the body cannot be written as JSON: {error}") from error


def with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    """A URL with more in its query."""
    if not pairs:
        return url
    front, mark, fragment = url.partition("#")
    joint = "&" if "?" in front else "?"
    return f"{front}{joint}{urlencode(pairs)}{mark}{fragment}"


def _content(
    parameters: CallParameters, message: Message
) -> tuple[str, bytes | Streamed]:
    if parameters.raw:
        trigger = message.run.trigger
        return trigger.content_type, _at_hand(trigger.raw_body)
    if parameters.attachment is not None:
        attachment = named(parameters.attachment, message)
        return attachment.content_type, _at_hand(attachment.content)
    if parameters.body is not None:
        value = parameters.body.value(message)
    elif parameters.method in WITHOUT_BODY and parameters.attachments is None:
        return "", b""
    else:
        value = message.body
    if parameters.attachments is not None:
        form = form_of(parameters.attachments, value, message)
        return form.content_type, form
    if isinstance(value, str):
        return "text/plain; charset=utf-8", value.encode(errors="replace")
    return "application/json", encoded(value)


def _at_hand(content: Content) -> bytes | Streamed:
    return content.content if isinstance(content, InMemory) else content


def _texts(template: Template, message: Message) -> dict[str, str]:
    return dict(_pairs(template, message))


def _pairs(template: Template, message: Message) -> list[tuple[str, str]]:
    """Names and values as text: null leaves a name out, a list repeats it."""
    value = template.value(message)
    if not isinstance(value, dict):
        raise TerminalError(f"{template.source!r} does not give names and values")
    return [
        (name, _text(name, one))
        for name, held in value.items()
        for one in (held if isinstance(held, list) else [held])
        if one is not None
    ]


def _text(name: str, value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
    raise TerminalError(f"{name} is neither text nor a number")
