"""telegram.send: texts reach the chat, Telegram's limits hold, the token stays hidden."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from hookline.components.telegram_send import TelegramSend
from hookline.errors import RetryableError, TerminalError
from hookline.event import Message
from hookline.http_client import GuardedClient, NotSent, Unanswered
from tests.builders import component, message
from tests.standins import (
    TELEGRAM_CHAT,
    TELEGRAM_TOKEN,
    Answer,
    HangUp,
    Telegram,
    telegram_error,
)

SECRETS = {
    "BOT": TELEGRAM_TOKEN,
    "OTHER": "1:other",
    "BROKEN": "1:canary/../../x",
    "CHAT": TELEGRAM_CHAT,
}
NEEDED = {"token": "${secret:BOT}", "chat_id": TELEGRAM_CHAT, "text": "a"}


@pytest.fixture
async def telegram() -> AsyncIterator[Telegram]:
    async with Telegram() as standin:
        yield standin


async def send(
    telegram: Telegram,
    http: GuardedClient,
    given: Message | None = None,
    **parameters: Any,
) -> Message:
    with_ = {**NEEDED, "base_url": telegram.url, **parameters}
    step = component(TelegramSend, with_, http, SECRETS)
    [answer] = await step.run(given or message())
    return answer


@pytest.mark.parametrize(
    "chat_id", [int(TELEGRAM_CHAT), TELEGRAM_CHAT, "${secret:CHAT}"]
)
async def test_the_text_reaches_the_chat(
    telegram: Telegram, http: GuardedClient, chat_id: Any
) -> None:
    given = message({"amount": "12.50"})
    text = "=body.amount & ' EUR'"
    answer = await send(telegram, http, given, text=text, chat_id=chat_id)

    assert telegram.accepted == [{"chat_id": TELEGRAM_CHAT, "text": "12.50 EUR"}]
    assert answer.status == 200
    assert answer.body["result"]["message_id"] == 1


async def test_marked_up_text_says_how(telegram: Telegram, http: GuardedClient) -> None:
    await send(telegram, http, text="<b>a</b>", parse_mode="HTML")

    assert telegram.accepted[0]["parse_mode"] == "HTML"


async def test_too_many_requests_wait_as_long_as_telegram_says(
    telegram: Telegram, http: GuardedClient
) -> None:
    telegram.fail(
        telegram_error(429, "Too Many Requests: retry after 35", retry_after=35)
    )
    with pytest.raises(RetryableError, match="429: Too Many Requests") as caught:
        await send(telegram, http)
    await send(telegram, http)

    assert caught.value.retry_after_s == 35
    assert len(telegram.accepted) == 1


async def test_no_wait_is_longer_than_an_hour(
    telegram: Telegram, http: GuardedClient
) -> None:
    telegram.fail(telegram_error(429, "Too Many Requests", retry_after=10**9))
    with pytest.raises(RetryableError) as caught:
        await send(telegram, http)

    assert caught.value.retry_after_s == 3600


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_trouble_is_tried_again(
    telegram: Telegram, http: GuardedClient, status: int
) -> None:
    telegram.fail(Answer(status, b"<html>", {"Retry-After": "3"}))
    with pytest.raises(RetryableError, match=f"Telegram answered {status}") as caught:
        await send(telegram, http)

    assert caught.value.retry_after_s == 3


async def test_what_telegram_refuses_is_final_with_its_description(
    telegram: Telegram, http: GuardedClient
) -> None:
    with pytest.raises(TerminalError, match="400: Bad Request: chat not found"):
        await send(telegram, http, chat_id="@nobody")


async def test_an_unknown_token_is_final_and_named(
    telegram: Telegram, http: GuardedClient
) -> None:
    with pytest.raises(TerminalError, match="token in the secret OTHER"):
        await send(telegram, http, token="${secret:OTHER}")


async def test_a_token_of_another_form_is_not_sent(
    telegram: Telegram, http: GuardedClient
) -> None:
    """It would change the path."""
    with pytest.raises(TerminalError, match="BROKEN is no bot token") as caught:
        await send(telegram, http, token="${secret:BROKEN}")

    assert "canary" not in str(caught.value)
    assert telegram.requests == []


async def test_the_token_is_in_no_error(
    telegram: Telegram, http: GuardedClient
) -> None:
    """Neither where Telegram repeats it nor where the connection fails."""
    telegram.fail(telegram_error(400, f"Bad Request: bot{TELEGRAM_TOKEN}"))
    telegram.fail(HangUp(after=True))
    with pytest.raises(TerminalError) as refused:
        await send(telegram, http)
    with pytest.raises(Unanswered) as lost:
        await send(telegram, http)
    async with Telegram() as gone:
        pass
    with pytest.raises(NotSent) as unsent:
        await send(gone, http)

    for caught in (refused, lost, unsent):
        assert TELEGRAM_TOKEN not in repr(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "  \n", "x" * 4097])
async def test_a_text_of_the_wrong_length_is_not_sent(
    telegram: Telegram, http: GuardedClient, text: str
) -> None:
    with pytest.raises(TerminalError, match="1 to 4096 characters"):
        await send(telegram, http, text=text)

    assert telegram.requests == []


async def test_a_text_as_long_as_may_be_is_sent(
    telegram: Telegram, http: GuardedClient
) -> None:
    await send(telegram, http, text="x" * 4096)

    assert len(telegram.accepted) == 1


@pytest.mark.parametrize(
    ("parameters", "mistake"),
    [
        ({"parse_mode": "markdown"}, "parse_mode"),
        ({"token": TELEGRAM_TOKEN}, "never holds a secret"),
        ({"timeout": "-1s"}, "timeout"),
        ({"base_url": "ftp://a.example"}, "base_url"),
        ({"chatid": 1}, "chatid"),
    ],
)
def test_mistakes_surface_when_the_flow_is_loaded(
    parameters: Mapping[str, Any], mistake: str
) -> None:
    with pytest.raises(ValidationError, match=mistake):
        TelegramSend.Parameters.model_validate({**NEEDED, **parameters})
