"""x.post: posts on X; X's answer becomes the message.

with:
    text         what to post, at most 280 by X's own counting (a URL counts 23, CJK 2)
    reply_to     the id of the post that this one answers
    credentials  "${secret:NAME}". The secret is JSON: either
                 {"consumer_key", "consumer_secret", "access_token",
                 "access_token_secret"} (OAuth 1.0a, does not expire), or
                 {"bearer_token"} (an OAuth 2 user token, which X ends after two hours;
                 it is not refreshed here)
    limit        280 if nothing is said; accounts with X Premium may post longer texts
    timeout      from connecting to the last byte, 30 s if nothing is said
    base_url     https://api.x.com if nothing is said

Sends POST /2/tweets. The new message's body is X's answer: `{"data": {"id", "text"}}`.

Not repeatable: a post that was sent and whose end is unknown (no answer, or 500, 502, 504)
is not sent again by itself; the execution fails as indeterminate, and a person looks at
the account before running it again.
Retried, because X has done nothing: no connection; 425, 429 and 503, not before
`Retry-After` or `x-rate-limit-reset` (at most an hour).
403 for a duplicate fails the execution and says so: a post with this text stands on the
account already. After an indeterminate attempt that means it had succeeded; skip it.
Any other status fails the execution with X's reason.
https://docs.x.com/x-api/posts/create-post, https://docs.x.com/x-api/fundamentals/rate-limits,
RFC 5849.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec
from oauthlib.oauth1 import Client
from pydantic import Field

from hookline import components
from hookline.components import Effect, Resources, answers
from hookline.components.calls import TIMEOUT_S, Url, json_request, standing_headers
from hookline.components.x_text import LIMIT, weighted_length
from hookline.errors import RetryableError, StepError, TerminalError
from hookline.event import Message
from hookline.flow import Secret
from hookline.flow_fields import Duration
from hookline.http_client import Response, Unanswered
from hookline.template import Template

OAUTH_1: Final = (
    "consumer_key",
    "consumer_secret",
    "access_token",
    "access_token_secret",
)
FORBIDDEN: Final = 403
NOT_PROCESSED: Final = frozenset({425, 429, 503})
POST_ID: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
INDETERMINATE: Final = (
    "the post may stand on X: look there before this event is run again"
)


class XPost:
    """Posts on X."""

    class Parameters(components.Parameters):
        """The parameters of x.post."""

        text: Template
        reply_to: Template | None = None
        credentials: Secret
        limit: int = Field(LIMIT, ge=1)
        timeout: Duration = TIMEOUT_S
        base_url: Url = Template.compile("https://api.x.com")

    effect: ClassVar = Effect.ONCE

    def __init__(self, parameters: Parameters, resources: Resources) -> None:
        self._parameters = parameters
        self._http = resources.http

    async def run(self, message: Message) -> Sequence[Message]:
        """Post, and pass X's answer on."""
        parameters = self._parameters
        keys = _keys(parameters.credentials, message)
        body = self._body(message)
        url = parameters.base_url.text(message).rstrip("/") + "/2/tweets"
        headers = standing_headers(message) | {
            "authorization": _authorization(keys, url)
        }
        request = json_request(url, body, headers, parameters.timeout)
        try:
            response = await self._http.send(request)
        except Unanswered as error:
            text = f"{error}; {INDETERMINATE}"
            raise TerminalError(text, indeterminate=True) from error
        if not answers.is_success(response.status):
            raise _failure(response, keys.values())
        return (_posted(message, response),)

    def _body(self, message: Message) -> dict[str, Any]:
        parameters = self._parameters
        text = parameters.text.text(message)
        length = weighted_length(text)
        if not 0 < length <= parameters.limit:
            raise TerminalError(
                f"X takes posts of 1 to {parameters.limit} characters; by its rules this "
                f"text has {length}"
            )
        if parameters.reply_to is None:
            return {"text": text}
        post_id = parameters.reply_to.text(message)
        if not POST_ID.fullmatch(post_id):
            raise TerminalError("reply_to is not the id of a post: up to 19 digits")
        return {"text": text, "reply": {"in_reply_to_tweet_id": post_id}}


def _keys(credentials: Secret, message: Message) -> dict[str, str]:
    try:
        keys = msgspec.json.decode(credentials.text(message), type=dict[str, str])
    except (msgspec.DecodeError, RecursionError):
        keys = {}
    if keys.get("bearer_token") or all(keys.get(name) for name in OAUTH_1):
        return keys
    names = ", ".join(sorted(credentials.secret_names))
    raise TerminalError(
        f"the secret {names} must be a JSON object with {', '.join(OAUTH_1)}, or with "
        "bearer_token"
    )


def _authorization(keys: Mapping[str, str], url: str) -> str:
    if bearer := keys.get("bearer_token"):
        return f"Bearer {bearer}"
    client = Client(*(keys[name] for name in OAUTH_1))
    # A JSON body is no part of the signature (RFC 5849, 3.4.1.3.1).
    _, headers, _ = client.sign(url, http_method="POST")
    return str(headers["Authorization"])


def _posted(message: Message, response: Response) -> Message:
    """The message of a post that stands, whatever its answer looks like."""
    body = answers.json_of(response)
    return message.derive(
        body=body, headers=response.headers, status=response.status, attachments={}
    )


def _failure(response: Response, secrets: Iterable[str]) -> StepError:
    reason = answers.failure("X", response, secrets)
    if response.status in NOT_PROCESSED:
        return RetryableError(str(reason), _wait_s(response))
    if answers.is_retried(response.status):
        return TerminalError(f"{reason}; {INDETERMINATE}", indeterminate=True)
    if response.status == FORBIDDEN and "duplicate" in str(reason).lower():
        return TerminalError(
            f"{reason} Nothing was posted now: a post with this text stands on the "
            "account already"
        )
    return TerminalError(str(reason))


def _wait_s(response: Response) -> float | None:
    reset = response.headers.get("x-rate-limit-reset", "")
    if not re.fullmatch(r"[0-9]{1,11}", reset):
        return answers.retry_after_s(response)
    return answers.seconds_until(datetime.fromtimestamp(int(reset), UTC), response)
