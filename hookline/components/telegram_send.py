"""telegram.send: sends a text to a Telegram chat; Telegram's answer becomes the message.

with:
    token       "${secret:NAME}": what @BotFather gave for the bot
    chat_id     a number, or @name of a channel
    text        what to send, at most 4096 characters
    parse_mode  MarkdownV2, HTML or Markdown: the text is marked up, and everything in it
                that is not must be escaped. If nothing is said the text is plain
    timeout     from connecting to the last byte, 30 s if nothing is said
    base_url    https://api.telegram.org if nothing is said

Sends POST /bot<token>/sendMessage. The new message's body is Telegram's answer:
`{"ok": true, "result": {"message_id", …}}`.

Retried: 408, 425, 429, 5xx, and where no answer came; after 429 not before Telegram's
`retry_after` (at most an hour). Any other status fails the execution with Telegram's
description.
Repeatable: where an answer was lost the text is sent again, and the chat may have it
twice; Telegram has no way to tell repeats.
https://core.telegram.org/bots/api#sendmessage, https://core.telegram.org/bots/api#making-requests
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

from hookline import components
from hookline.components import Effect, Resources, answers
from hookline.components.calls import TIMEOUT_S, Url, json_request, standing_headers
from hookline.errors import StepError, TerminalError
from hookline.event import Message
from hookline.flow import Secret
from hookline.flow_fields import Duration
from hookline.http_client import Response
from hookline.template import Template

LONGEST_TEXT: Final = 4096
TOKEN: Final = re.compile(r"[0-9]+:[A-Za-z0-9_-]+", re.ASCII)
UNKNOWN_TOKEN: Final = frozenset({401, 404})


class TelegramSend:
    """Sends a text to a Telegram chat."""

    class Parameters(components.Parameters):
        """The parameters of telegram.send."""

        token: Secret
        chat_id: Template
        text: Template
        parse_mode: Literal["MarkdownV2", "HTML", "Markdown"] | None = None
        timeout: Duration = TIMEOUT_S
        base_url: Url = Template.compile("https://api.telegram.org")

    effect: ClassVar = Effect.REPEATABLE

    def __init__(self, parameters: Parameters, resources: Resources) -> None:
        self._parameters = parameters
        self._http = resources.http

    async def run(self, message: Message) -> Sequence[Message]:
        """Send the text, and pass Telegram's answer on."""
        parameters = self._parameters
        token = self._token(message)
        base = parameters.base_url.text(message).rstrip("/")
        request = json_request(
            f"{base}/bot{token}/sendMessage",
            self._body(message),
            standing_headers(message),
            parameters.timeout,
        )
        response = await self._http.send(request)
        if not answers.is_success(response.status):
            raise _failure(response, token, parameters.token)
        return (answers.message_of("Telegram", message, response),)

    def _token(self, message: Message) -> str:
        token = self._parameters.token.text(message)
        if not TOKEN.fullmatch(token):
            names = ", ".join(sorted(self._parameters.token.secret_names))
            raise TerminalError(
                f"the secret {names} is no bot token: digits, a colon, letters and digits"
            )
        return token

    def _body(self, message: Message) -> dict[str, Any]:
        parameters = self._parameters
        text = parameters.text.text(message)
        # With a parse_mode only what is left of the text after parsing counts.
        too_long = len(text) > LONGEST_TEXT and parameters.parse_mode is None
        if not text.strip() or too_long:
            raise TerminalError(
                f"Telegram takes texts of 1 to {LONGEST_TEXT} characters; this one has "
                f"{len(text)}"
            )
        body = {"chat_id": parameters.chat_id.text(message), "text": text}
        if parameters.parse_mode is not None:
            body["parse_mode"] = parameters.parse_mode
        return body


def _failure(response: Response, token: str, secret: Secret) -> StepError:
    if response.status in UNKNOWN_TOKEN:
        names = ", ".join(sorted(secret.secret_names))
        return TerminalError(
            f"Telegram answered {response.status}: it does not know the token in the "
            f"secret {names}"
        )
    return answers.failure("Telegram", response, [token], _asked_s(response))


def _asked_s(response: Response) -> float | None:
    match answers.json_of(response):
        case {"parameters": {"retry_after": int(asked_s)}}:
            return min(max(float(asked_s), 0.0), answers.LONGEST_WAIT_S)
    return None
