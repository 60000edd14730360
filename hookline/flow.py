"""A flow: a trigger and an ordered list of steps, as its file defines it.

The models say what a flow file may hold; unknown fields are mistakes. What a step's
`with` may hold is its component's business.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hookline.flow_admission import Cors, Hosts, Networks, Rate
from hookline.flow_answers import OnReject, Response
from hookline.flow_fields import HEADER_NAME, Duration, Model, as_list, size_bytes
from hookline.template import Template

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
REQUEST_LIMIT_BYTES = 10_000_000
# What the operator lets flows raise it to, if nothing is said.
MOST_BODY_BYTES = 1_000_000_000
PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = ("body", "ts", "id", "url", "method", "query", "path", "sorted_form")


def _secret_field(template: Template) -> Template:
    if not isinstance(template.source, str) or template.is_expression:
        raise ValueError('name a secret: "${secret:NAME}"')
    if not template.secret_names:
        raise ValueError(
            'a flow file never holds a secret: name one, "${secret:NAME}", '
            "and set HOOKLINE_SECRET_NAME"
        )
    return template


Size = Annotated[int, BeforeValidator(size_bytes), Field(gt=0)]
Id = Annotated[str, Field(pattern=ID_PATTERN)]
Secret = Annotated[Template, AfterValidator(_secret_field)]
SecretList = Annotated[
    tuple[Secret, ...], BeforeValidator(as_list), Field(min_length=1)
]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


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
        if self.timestamp_header and "ts" not in named:
            raise ValueError(
                "timestamp_header is not signed, and a repeat could bring a new time: "
                "put {ts} into the template"
            )
        if "id" in named and not self.id_header:
            raise ValueError("a template with {id} needs id_header")
        if self.id_header and "id" not in named:
            raise ValueError(
                "id_header is not signed, and a repeat could bring a new id: "
                "put {id} into the template"
            )
        return self


Auth = Annotated[
    NoAuth | BasicAuth | ApiKeyAuth | HmacAuth, Field(discriminator="type")
]


class Webhook(Model):
    """A webhook trigger: who may start the flow, with what, and the answer."""

    methods: tuple[Method, ...] = Field(("POST",), min_length=1)
    auth: Annotated[tuple[Auth, ...], BeforeValidator(as_list), Field(min_length=1)]
    max_body: Size = REQUEST_LIMIT_BYTES
    raw: bool = False
    keep_rejected: bool = False
    response: Response | None = None
    rate: Rate | None = None
    in_flight: int | None = Field(None, ge=1)
    allow_from: Networks | None = None
    conceal: bool = False
    on_reject: OnReject | None = None
    cors: Cors | None = None
    handshake: Hosts | None = None

    @property
    def is_open(self) -> bool:
        """Whether everyone may start the flow, from anywhere."""
        return self.allow_from is None and any(
            isinstance(auth, NoAuth) for auth in self.auth
        )

    @model_validator(mode="after")
    def _can_be_concealed(self) -> Self:
        if not self.conceal:
            return self
        if self.is_open:
            raise ValueError(
                "a flow that everyone may start cannot be concealed: give it a "
                "credential, or leave conceal out"
            )
        for name in ("on_reject", "cors", "handshake"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} tells everyone that the flow is there, conceal hides it: "
                    "leave one of them out"
                )
        return self


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
    on_exhausted: Literal["dead_letter", "hold"] = "dead_letter"
    on_error: tuple[Step, ...] = ()

    @property
    def webhook(self) -> Webhook:
        """The trigger."""
        return self.trigger.webhook
