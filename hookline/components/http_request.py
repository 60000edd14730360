"""http.request: sends an HTTP request; the answer becomes the message.

with:
    method    GET, POST (if nothing is said), PUT, PATCH or DELETE
    url       where to: http or https
    headers   names and values
    query     names and values, added to the URL; a list repeats its name
    body      a value is sent as JSON, a string as text. Without it the message's own body
              is sent, with GET and DELETE none
    raw       true: the event's own bytes are sent, with their type and coding
    attachment   the name of the attachment that is the body, with its content type
    attachments  "*" for all, or a list of names: sent as multipart/form-data, as `file`
              after the fields of the body, an object; or an object of field names and
              file names. Files of any size are streamed from where they are
    timeout   from connecting to the last byte, 30 s if nothing is said
    expect    the status, or list of statuses, that count as success: any 2xx if nothing
              is said
    auth      {type: basic, username, password}, {type: bearer, token} or
              {type: api_key, value, header: x-api-key}; {in: query, parameter: api_key}
              puts the key into the query instead

Headers and query parameters whose value is nothing are left out. Sent with each request:
`Idempotency-Key` (the same in every attempt), `traceparent`, `User-Agent`.

The new message has the answer's status, its headers in lower case and its body: JSON
parsed, text as text, anything else as the attachment `payload.<ext>` beside the body
`{}`. An answer longer than 1 MiB fails the execution.

Retried: 408, 425, 429, 5xx, and where no answer came; not before the time in the answer's
`Retry-After` (at most an hour). Any other unexpected status, redirects among them, fails
the execution at once. The error holds what a JSON answer says in `detail`, `message` or
`error`, with this step's secrets taken out.

Repeatable: an attempt whose answer was lost is sent again, with the same Idempotency-Key.
Where the other side does not heed that, its work may be done twice.
Semantics: RFC 9110. OAuth 2 client credentials are not supported yet.
"""

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hookline import components
from hookline.components import Effect, Resources, answers
from hookline.components.calls import (
    CallParameters,
    Object,
    Statuses,
    request_for,
    with_query,
)
from hookline.event import Message
from hookline.flow import Secret
from hookline.http_client import OutgoingRequest, Response, origin
from hookline.template import Template


class Basic(components.Parameters):
    """RFC 7617."""

    type: Literal["basic"]
    username: Template
    password: Secret


class Bearer(components.Parameters):
    """RFC 6750."""

    type: Literal["bearer"]
    token: Secret


class ApiKey(components.Parameters):
    """A key in a header, or in a parameter of the query."""

    type: Literal["api_key"]
    value: Secret
    header: str = "x-api-key"
    in_: Literal["header", "query"] = Field("header", alias="in")
    parameter: str = "api_key"


Auth = Annotated[Basic | Bearer | ApiKey, Field(discriminator="type")]


class HttpRequest:
    """Sends an HTTP request."""

    class Parameters(CallParameters):
        """The parameters of http.request."""

        query: Object | None = None
        expect: Statuses | None = None
        auth: Auth | None = None

    effect: ClassVar = Effect.REPEATABLE

    def __init__(self, parameters: Parameters, resources: Resources) -> None:
        self._parameters = parameters
        self._http = resources.http

    async def run(self, message: Message) -> Sequence[Message]:
        """Send the request and pass its answer on."""
        parameters = self._parameters
        request = request_for(parameters, message, parameters.query)
        who = origin(request.url)
        authenticated, secrets = _authenticate(parameters.auth, request, message)
        response = await self._http.send(authenticated)
        if not self._expects(response):
            secrets += answers.secrets_of(
                parameters.url, parameters.headers, parameters.query, parameters.body
            )
            raise answers.failure(who, response, secrets)
        return (answers.message_of(who, message, response),)

    def _expects(self, response: Response) -> bool:
        expected = self._parameters.expect
        if expected is None:
            return answers.is_success(response.status)
        return response.status in expected


def _authenticate(
    auth: Auth | None, request: OutgoingRequest, message: Message
) -> tuple[OutgoingRequest, list[str]]:
    """The request with its credential, and what must not be repeated in errors."""
    match auth:
        case None:
            return request, []
        case Basic():
            password = auth.password.text(message)
            pair = f"{auth.username.text(message)}:{password}"
            encoded = base64.b64encode(pair.encode()).decode()
            sent = _with_header(request, "authorization", f"Basic {encoded}")
            return sent, [encoded, password, *answers.secrets_of(auth.username)]
        case Bearer():
            token = auth.token.text(message)
            return _with_header(request, "authorization", f"Bearer {token}"), [token]
        case ApiKey(in_="query"):
            key = auth.value.text(message)
            url = with_query(request.url, [(auth.parameter, key)])
            return replace(request, url=url), [key]
        case ApiKey():
            key = auth.value.text(message)
            return _with_header(request, auth.header.lower(), key), [key]


def _with_header(request: OutgoingRequest, name: str, value: str) -> OutgoingRequest:
    return replace(request, headers={**request.headers, name: value})
