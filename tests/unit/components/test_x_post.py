"""x.post: signed as X checks it, never sent twice where it may have been posted."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from hookline.components import Effect
from hookline.components.x_post import XPost
from hookline.components.x_text import weighted_length
from hookline.errors import RetryableError, TerminalError
from hookline.event import Message
from hookline.http_client import GuardedClient, NotSent
from tests.builders import EVENT_ID, component, message
from tests.standins import (
    X_BEARER,
    X_DUPLICATE,
    X_KEYS,
    Answer,
    HangUp,
    Silence,
    X,
    problem,
)

SECRETS = {
    "X": json.dumps(X_KEYS),
    "TOKEN": json.dumps({"bearer_token": X_BEARER}),
    "OTHER": json.dumps({**X_KEYS, "access_token_secret": "canary"}),
    "HALF": json.dumps({"consumer_key": "canary"}),
    "TEXT": "canary",
}
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
LATER = str(1445412480 + 90)


@pytest.fixture
async def x() -> AsyncIterator[X]:
    async with X() as standin:
        yield standin


async def post(
    x: X, http: GuardedClient, given: Message | None = None, **parameters: Any
) -> Message:
    with_ = {
        "text": "Hello, world & more!",
        "credentials": "${secret:X}",
        "base_url": x.url,
        **parameters,
    }
    step = component(XPost, with_, http, SECRETS)
    [answer] = await step.run(given or message(step_id="tweet"))
    return answer


def test_it_is_not_run_again_by_itself() -> None:
    assert XPost.effect is Effect.ONCE


async def test_x_accepts_the_signature_and_posts(x: X, http: GuardedClient) -> None:
    given = message({"title": "Größe & Maß", "url": "https://blog.example/1"})
    text = "='New: ' & body.title & ' ' & body.url"
    answer = await post(x, http, given, text=text)

    assert x.accepted == [{"text": "New: Größe & Maß https://blog.example/1"}]
    assert answer.status == 201
    assert answer.body["data"]["text"] == x.accepted[0]["text"]
    assert answer.body["data"]["id"] == "1445880548472328193"


async def test_an_oauth_2_token_is_sent_as_bearer(x: X, http: GuardedClient) -> None:
    await post(x, http, credentials="${secret:TOKEN}")

    assert len(x.accepted) == 1
    assert x.requests[0].headers["authorization"] == f"Bearer {X_BEARER}"


async def test_a_post_can_be_a_reply(x: X, http: GuardedClient) -> None:
    await post(x, http, message({"id": "1445880548472328192"}), reply_to="=body.id")

    [posted] = x.accepted
    assert posted["reply"] == {"in_reply_to_tweet_id": "1445880548472328192"}


async def test_a_post_carries_its_key(x: X, http: GuardedClient) -> None:
    await post(x, http)

    assert x.requests[0].headers["idempotency-key"] == f"{EVENT_ID}/tweet"


async def test_wrong_keys_are_final_with_what_x_says(x: X, http: GuardedClient) -> None:
    with pytest.raises(TerminalError, match="X answered 401: Unauthorized") as caught:
        await post(x, http, credentials="${secret:OTHER}")

    assert not caught.value.indeterminate
    assert x.accepted == []


@pytest.mark.parametrize(
    "failure", [HangUp(after=True), HangUp(after=False), Silence()]
)
async def test_a_post_without_an_answer_is_indeterminate(
    x: X, http: GuardedClient, failure: HangUp | Silence
) -> None:
    x.fail(failure)
    with pytest.raises(TerminalError, match="may stand on X") as caught:
        await post(x, http, timeout="200ms")

    assert caught.value.indeterminate


@pytest.mark.parametrize("status", [408, 500, 502, 504])
async def test_an_error_of_x_leaves_it_indeterminate(
    x: X, http: GuardedClient, status: int
) -> None:
    x.fail(Answer(status))
    with pytest.raises(TerminalError, match=f"{status}; the post may stand") as caught:
        await post(x, http)

    assert caught.value.indeterminate


async def test_a_post_that_did_not_leave_is_tried_again(http: GuardedClient) -> None:
    async with X() as gone:
        pass
    with pytest.raises(NotSent):
        await post(gone, http)


@pytest.mark.parametrize("status", [425, 429, 503])
async def test_what_x_has_not_processed_is_tried_again(
    x: X, http: GuardedClient, status: int
) -> None:
    x.fail(problem(status, "Wait", "Wait", Retry_After="7"))
    with pytest.raises(RetryableError, match=f"X answered {status}: Wait") as caught:
        await post(x, http)
    await post(x, http)

    assert caught.value.retry_after_s == 7
    assert len(x.accepted) == 1


async def test_the_rate_limits_reset_is_heeded(x: X, http: GuardedClient) -> None:
    """It is in seconds since 1970, by X's own clock."""
    limits = {"x_rate_limit_remaining": "0", "x_rate_limit_reset": LATER, "Date": DATE}
    x.fail(problem(429, "Too Many Requests", "Too Many Requests", **limits))
    with pytest.raises(RetryableError) as caught:
        await post(x, http)

    assert caught.value.retry_after_s == 90


async def test_a_duplicate_is_said_to_stand_already(x: X, http: GuardedClient) -> None:
    """What somebody sees who runs an indeterminate post again."""
    x.fail(HangUp(after=True))
    with pytest.raises(TerminalError):
        await post(x, http)
    with pytest.raises(TerminalError, match="stands on the account already") as caught:
        await post(x, http)

    assert X_DUPLICATE.status == 403
    assert not caught.value.indeterminate
    assert len(x.accepted) == 1


async def test_another_403_is_final(x: X, http: GuardedClient) -> None:
    x.fail(problem(403, "Forbidden", "You are not permitted to do this."))
    with pytest.raises(TerminalError, match="403: You are not permitted") as caught:
        await post(x, http)

    assert "already" not in str(caught.value)


async def test_a_post_that_stands_is_a_success_whatever_the_answer(
    x: X, http: GuardedClient
) -> None:
    x.fail(Answer(201, b"<html>", {"Content-Type": "application/json"}))
    answer = await post(x, http)

    assert (answer.status, answer.body) == (201, None)


@pytest.mark.parametrize("text", ["", "x" * 281, "日" * 141])
async def test_a_text_of_the_wrong_length_is_not_sent(
    x: X, http: GuardedClient, text: str
) -> None:
    with pytest.raises(TerminalError, match="1 to 280 characters"):
        await post(x, http, text=text)

    assert x.requests == []


async def test_premium_accounts_may_raise_the_limit(x: X, http: GuardedClient) -> None:
    await post(x, http, text="x" * 281, limit=25000)

    assert len(x.accepted) == 1


async def test_a_reply_to_no_post_is_not_sent(x: X, http: GuardedClient) -> None:
    with pytest.raises(TerminalError, match="not the id of a post"):
        await post(x, http, reply_to="https://x.com/a/status/1")

    assert x.requests == []


@pytest.mark.parametrize("name", ["HALF", "TEXT"])
async def test_a_secret_of_another_form_is_named_not_shown(
    x: X, http: GuardedClient, name: str
) -> None:
    with pytest.raises(TerminalError, match=f"the secret {name} must be") as caught:
        await post(x, http, credentials=f"${{secret:{name}}}")

    assert "canary" not in str(caught.value)
    assert x.requests == []


async def test_secrets_are_in_no_error(x: X, http: GuardedClient) -> None:
    said = f"what are {' '.join(X_KEYS.values())}?"
    x.fail(problem(400, "Invalid Request", said))
    with pytest.raises(TerminalError) as caught:
        await post(x, http)

    assert str(caught.value) == "X answered 400: what are *** *** *** ***?"


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("Hello", 5),
        ("Größe", 5),
        ("Gro\u0308sse", 6),
        ("日本語", 6),
        ("“quoted” \u2013 dashes…", 19),
        ("see https://example.com/a/very/long/path?with=a&query=1#and-more.", 28),
        ("http://a.example", 23),
        ("https://a.example (https://b.example)", 49),
        ("http://localhost", 16),
        ("😀", 2),
        ("👍🏽", 2),
        ("👨‍👩‍👧‍👦", 2),
        ("🇳🇴🇩🇪", 4),
        ("1️⃣", 2),
        ("❤️", 2),
        ("©", 1),
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", 2),
    ],
)
def test_length_is_counted_as_x_counts(text: str, length: int) -> None:
    """By the configuration v3 of twitter-text."""
    assert weighted_length(text) == length


@pytest.mark.parametrize(
    ("parameters", "mistake"),
    [
        ({"text": "a"}, "credentials"),
        ({"credentials": "${secret:X}"}, "text"),
        ({"text": "a", "credentials": "plain"}, "never holds a secret"),
        (
            {"text": "a", "credentials": "${secret:X}", "base_url": "api.x.com"},
            "base_url",
        ),
        ({"text": "a", "credentials": "${secret:X}", "limit": 0}, "limit"),
        ({"text": "a", "credentials": "${secret:X}", "timeout": "-1s"}, "timeout"),
    ],
)
def test_mistakes_surface_when_the_flow_is_loaded(
    parameters: Mapping[str, Any], mistake: str
) -> None:
    with pytest.raises(ValidationError, match=mistake):
        XPost.Parameters.model_validate(parameters)
