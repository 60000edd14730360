"""What a trigger says of its answers: to what is accepted, and to what is refused."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, field_validator

from hookline.event import Value
from hookline.expression import Limits
from hookline.flow_fields import HEADER_NAME, Model
from hookline.template import Template, has_expression

# An answer waits for it, and so does everybody else's.
REPLY_LIMITS: Final = Limits(
    timeout_s=0.05, steps=100_000, size=256 * 1024, items=10_000
)
OURS = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "x-duplicate",
        "upgrade",
        "x-event-id",
        "x-request-id",
    }
)


def _reply_template(value: Value) -> Template:
    template = Template.compile(value, limits=REPLY_LIMITS)
    if template.secret_names:
        raise ValueError("an answer goes to the sender: it cannot hold a secret")
    return template


def _check_header(name: str, value: str) -> None:
    if not re.match(HEADER_NAME, name):
        raise ValueError(f"{name!r} is not a header's name")
    if name.lower() in OURS:
        raise ValueError(f"{name} is set by Hookline itself: leave it out")
    if not value.isprintable():
        raise ValueError(f"the value of {name} must be one printable line")


ReplyTemplate = Annotated[Template, PlainValidator(_reply_template)]


class Response(Model):
    """The flow's own answer to an accepted request; expressions are over the request."""

    status: int = Field(200, ge=200, le=299)
    headers: Mapping[str, ReplyTemplate] = Field(default_factory=dict)
    body: ReplyTemplate = Template.compile(None)

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: Mapping[str, Template]) -> Mapping[str, Template]:
        for name, value in headers.items():
            if not isinstance(value.source, str):
                raise ValueError(f"the value of {name} must be text")  # noqa: TRY004 - pydantic's way
            _check_header(name, "" if value.is_expression else value.source)
        return headers


class OnReject(Model):
    """What every refusal looks like; nothing in it depends on the request."""

    status: int = Field(ge=400, le=499)
    headers: Mapping[str, str] = Field(default_factory=dict)
    body: Any = None

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            _check_header(name, value)
        return headers

    @field_validator("body")
    @classmethod
    def _literal(cls, body: Any) -> Any:
        if has_expression(body):
            raise ValueError(
                "what is refused is not looked at: write text or a value, no expression"
            )
        _reply_template(body)
        return body
