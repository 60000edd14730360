"""Answers of other systems: which are tried again and when, and answers as messages.

Tried again: 408, 425, 429 and every 5xx, not before the time that `Retry-After` asks for
(seconds or an HTTP date, at most an hour). Every other unwelcome status is final.
"""

import mimetypes
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from hookline.errors import RetryableError, StepError, TerminalError
from hookline.event import Attachment, InMemory, Message, Value
from hookline.http_client import Response
from hookline.template import Template

LONGEST_WAIT_S: Final = 3600.0
DETAIL_LENGTH: Final = 300
TOO_EARLY_OR_TOO_MUCH: Final = frozenset({408, 425, 429})
GONE: Final = 410
SUCCESS: Final = 2
SERVER_ERROR: Final = 5
# Where JSON answers say what is wrong; RFC 9457's name first.
DETAIL_NAMES: Final = ("detail", "description", "error_description", "message", "error")
TEXT: Final = re.compile(r"text/.+|application/xml|.+\+xml", re.ASCII)
JSON: Final = re.compile(r"application/json|text/json|.+\+json", re.ASCII)
JSON_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def is_success(status: int) -> bool:
    """Whether a status says that all went well."""
    return status // 100 == SUCCESS


def is_retried(status: int) -> bool:
    """Whether the same request may be answered better later."""
    return status in TOO_EARLY_OR_TOO_MUCH or status // 100 == SERVER_ERROR


def failure(
    who: str,
    response: Response,
    secrets: Iterable[str] = (),
    asked_s: float | None = None,
) -> StepError:
    """The error for an unwelcome answer; `asked_s` is a wait its body asks for."""
    text = f"{who} answered {response.status}{_explained(response, secrets)}"
    if not is_retried(response.status):
        return TerminalError(text)
    return RetryableError(text, retry_after_s(response) if asked_s is None else asked_s)


def _explained(response: Response, secrets: Iterable[str]) -> str:
    if response.status == GONE:
        return ": it is gone and asks not to be called any more"
    said = detail(response)
    return f": {redacted(said, secrets)}" if said else ""


def retry_after_s(response: Response) -> float | None:
    """The seconds that Retry-After asks to wait, by the answer's own clock."""
    asked = response.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return min(float(asked), LONGEST_WAIT_S)
    until = _date(asked)
    return None if until is None else seconds_until(until, response)


def seconds_until(until: datetime, response: Response) -> float:
    """Seconds from an answer's `Date` to a time, between 0 and an hour."""
    now = _date(response.headers.get("date", "")) or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT_S)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def json_of(response: Response) -> Value:
    """The JSON value of an answer, None where there is none."""
    try:
        return msgspec.json.decode(response.body)
    except JSON_ERRORS:
        return None


def detail(response: Response) -> str:
    """What an answer says is wrong: one short line, or nothing."""
    value = json_of(response)
    if not isinstance(value, dict):
        return ""
    texts = (value.get(name) for name in DETAIL_NAMES)
    found = next((text for text in texts if isinstance(text, str)), "")
    return " ".join(found.split())[:DETAIL_LENGTH]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """A text without these secrets."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text


def secrets_of(*templates: Template | None) -> list[str]:
    """The values of all secrets that parameters name."""
    return [
        template.lookup(name)
        for template in templates
        if template is not None
        for name in sorted(template.secret_names)
    ]


def message_of(who: str, message: Message, response: Response) -> Message:
    """The message that an answer becomes: its body, headers and status.

    JSON is parsed, text is text, anything else one attachment `payload.<ext>` beside the
    body `{}`; without a body it is null. Raises TerminalError where the body is longer
    than the client keeps, or is not the JSON it says it is.
    """
    if response.truncated:
        raise TerminalError(
            f"{who} answered {response.status}, with more than the "
            f"{len(response.body)} bytes that are read of an answer"
        )
    body, attachments = _content(who, response)
    return message.derive(
        body=body,
        headers=response.headers,
        status=response.status,
        attachments=attachments,
    )


def _content(who: str, response: Response) -> tuple[Value, dict[str, Attachment]]:
    content_type = response.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if not response.body:
        return None, {}
    if JSON.fullmatch(kind):
        return _json(who, response), {}
    if TEXT.fullmatch(kind):
        try:
            return response.body.decode(_charset(content_type)), {}
        except (LookupError, UnicodeDecodeError):
            pass
    name = f"payload{mimetypes.guess_extension(kind) or '.bin'}"
    return {}, {name: Attachment(content_type, InMemory(response.body))}


def _json(who: str, response: Response) -> Value:
    try:
        return msgspec.json.decode(response.body)
    except JSON_ERRORS:
        raise TerminalError(
            f"{who} answered {response.status}, with a body that is not the JSON its "
            "content type says"
        ) from None


def _charset(content_type: str) -> str:
    found = re.search(r'charset="?([\w.:-]+)', content_type, re.IGNORECASE)
    return found[1] if found else "utf-8"
