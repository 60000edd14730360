"""A flow: a trigger and an ordered list of steps, as its file defines it.

The models say what a flow file may hold; unknown fields are mistakes. What a step's
`with` may hold is its component's business.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from hookline.event import Value
from hookline.template import Template

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNITS_BYTES = {"": 1, "b": 1, "kb": 1000, "mb": 10**6, "kib": 1024, "mib": 1024**2}
UNITS_BYTES |= {"gb": 10**9, "gib": 1024**3}
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
REQUEST_LIMIT_BYTES = 10_000_000
# What the operator lets flows raise it to, if nothing is said.
MOST_BODY_BYTES = 1_000_000_000
PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = ("body", "ts", "id", "url", "method", "query", "path", "sorted_form")
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
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
        "upgrade",
        "x-event-id",
        "x-request-id",
    }
)


def duration_s(text: Value) -> float:
    """Seconds from "20s", "1.5m", "200ms" or a number of seconds."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d)", str(text))
    if found is None:
        raise ValueError('write a duration like "20s", "5m" or "200ms"')
    return float(found[1]) * UNITS_S[found[2]]


def size_bytes(text: Value) -> int:
    """Bytes from "1MB", "256KiB" or a number of bytes."""
    found = re.fullmatch(r"(\d+) ?([kKmMgG]?i?[bB]?)", str(text))
    if found is None or found[2].lower() not in UNITS_BYTES:
        raise ValueError('write a size like "1MB", "256KiB" or a number of bytes')
    return int(found[1]) * UNITS_BYTES[found[2].lower()]


def _as_list(value: Value) -> Value:
    return value if isinstance(value, list) else [value]


def _secret_field(template: Template) -> Template:
    if not isinstance(template.source, str) or template.is_expression:
        raise ValueError('name a secret: "${secret:NAME}"')
    if not template.secret_names:
        raise ValueError(
            'a flow file never holds a secret: name one, "${secret:NAME}", '
            "and set HOOKLINE_SECRET_NAME"
        )
    return template


Duration = Annotated[float, BeforeValidator(duration_s), Field(gt=0)]
Size = Annotated[int, BeforeValidator(size_bytes), Field(gt=0)]
Id = Annotated[str, Field(pattern=ID_PATTERN)]
Secret = Annotated[Template, AfterValidator(_secret_field)]
SecretList = Annotated[
    tuple[Secret, ...], BeforeValidator(_as_list), Field(min_length=1)
]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Model(BaseModel):
    """Base of the models here: frozen, and strict about names."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )


class NoAuth(Model):
    """Everyone may start the flow."""

    type: Literal["none"]


class BasicAuth(Model):
    """RFC 7617; UTF-8, the first colon ends the name. Any password of the list."""

    type: Literal["basic"]
    username: str = Field(min_length=1, pattern=r"^[^:]+$")
    password: SecretList


class ApiKeyAuth(Model):
    """A key in a header, or in a parameter of the query."""

    type: Literal["api_key"]
    header: str = Field("x-api-key", pattern=HEADER_NAME)
    in_: Literal["header", "query"] = Field("header", alias="in")
    parameter: str = "api_key"
    value: SecretList


class HmacAuth(Model):
    """A digest over the raw body, or over a template of body and other parts.

    `template` may hold {body} {ts} {id} {url} {method} {query} {path} {sorted_form}.
    Without one it is {body}, for GET and DELETE without a body the raw query string.
    """

    type: Literal["hmac"]
    secret: SecretList
    header: str = Field("x-eio-signature", pattern=HEADER_NAME)
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64", "base64url"] = "hex"
    prefix: str = ""
    template: str | None = None
    timestamp_header: str | None = None
    id_header: str | None = None
    tolerance: Duration = 300.0

    @model_validator(mode="after")
    def _can_be_verified(self) -> Self:
        named = PLACEHOLDER.findall(self.template or "")
        for name in named:
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                raise ValueError(f"the template has {{{name}}}; it may have {known}")
        if "ts" in named and not self.timestamp_header:
            raise ValueError("a template with {ts} needs timestamp_header")
        if "id" in named and not self.id_header:
            raise ValueError("a template with {id} needs id_header")
        return self


Auth = Annotated[
    NoAuth | BasicAuth | ApiKeyAuth | HmacAuth, Field(discriminator="type")
]


class Response(Model):
    """The flow's own answer to an accepted request."""

    status: int = Field(200, ge=200, le=299)
    headers: Mapping[str, str] = Field(default_factory=dict)
    body: Any = None

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if not re.match(HEADER_NAME, name):
                raise ValueError(f"{name!r} is not a header's name")
            if name.lower() in OURS:
                raise ValueError(f"{name} is set by Hookline itself: leave it out")
            if not value.isprintable():
                raise ValueError(f"the value of {name} must be one printable line")
        return headers

    @field_validator("body")
    @classmethod
    def _literal(cls, body: Any) -> Any:
        if isinstance(body, str) and body.startswith("=") and body[1:2] != "=":
            raise ValueError(
                "a reply's body cannot be an expression yet: write text or a value"
            )
        return body


class Webhook(Model):
    """A webhook trigger: who may start the flow, with what, and the answer."""

    methods: tuple[Method, ...] = Field(("POST",), min_length=1)
    auth: Annotated[tuple[Auth, ...], BeforeValidator(_as_list), Field(min_length=1)]
    max_body: Size = REQUEST_LIMIT_BYTES
    raw: bool = False
    response: Response | None = None


class Trigger(Model):
    """What starts a flow."""

    webhook: Webhook


class Retry(Model):
    """How often and when a step is tried again; words as in Temporal's policies."""

    maximum_attempts: int = Field(7, ge=1)
    initial_interval: Duration = 5.0
    backoff_coefficient: float = Field(3.0, ge=1)
    maximum_interval: Duration = 300.0


class Step(Model):
    """One place in a flow."""

    id: Id
    use: str
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    when: Template | None = None
    timeout: Duration = 60.0
    retry: Retry = Retry()


class Flow(Model):
    """A flow as its file defines it."""

    id: Id
    name: str = ""
    trigger: Trigger
    vars: Mapping[str, Any] = Field(default_factory=dict)
    steps: tuple[Step, ...] = Field(min_length=1)

    @property
    def webhook(self) -> Webhook:
        """The trigger."""
        return self.trigger.webhook
