"""webhook.send: its signatures hold before receivers that check them."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from hookline.components.webhook_send import WebhookSend
from hookline.errors import RetryableError, TerminalError
from hookline.event import Message
from hookline.http_client import GuardedClient, Unanswered
from tests.builders import EVENT_ID, component, message
from tests.standins import ERP_SECRET, Answer, Erp, HangUp, Request, StandIn

NEXT_SECRET = "whsec_" + base64.b64encode(b"the next one of 24 bytes").decode()
SECRETS = {
    "ERP": ERP_SECRET,
    "NEXT": NEXT_SECRET,
    "BROKEN": "whsec_!canary",
    "SHARED": "canary-shared",
}
STANDARD = {"type": "standard", "secret": "${secret:ERP}"}
HMAC = {"type": "hmac", "secret": "${secret:SHARED}"}


@pytest.fixture
async def erp() -> AsyncIterator[Erp]:
    async with Erp() as standin:
        yield standin


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with StandIn() as standin:
        yield standin


async def run(
    server: StandIn, http: GuardedClient, given: Message, **parameters: Any
) -> Message:
    with_ = {"url": f"{server.url}/orders?a=1", **parameters}
    [answer] = await component(WebhookSend, with_, http, SECRETS).run(given)
    return answer


async def test_standard_webhooks_receivers_accept_it(
    erp: Erp, http: GuardedClient
) -> None:
    """The answer is the next message, so the call may stand in the middle of a flow."""
    answer = await run(erp, http, message({"total": "12.50"}), sign=STANDARD)

    assert erp.accepted == [{"total": "12.50"}]
    assert (answer.status, answer.body) == (
        200,
        {"status": "booked", "number": "SO-00001"},
    )


async def test_a_receiver_with_either_secret_accepts_it(http: GuardedClient) -> None:
    """Several secrets sign side by side while one replaces the other."""
    sign = {"type": "standard", "secret": ["${secret:ERP}", "${secret:NEXT}"]}
    for secret in (ERP_SECRET, NEXT_SECRET):
        async with Erp(secret) as erp:
            await run(erp, http, message({"a": 1}), sign=sign)

            signatures = erp.requests[0].headers["webhook-signature"].split(" ")
            assert [one[:3] for one in signatures] == ["v1,", "v1,"]
            assert len(erp.accepted) == 1


async def test_a_wrong_secret_is_refused_for_good(
    erp: Erp, http: GuardedClient
) -> None:
    sign = {"type": "standard", "secret": "${secret:NEXT}"}
    with pytest.raises(TerminalError, match="answered 401: No matching signature"):
        await run(erp, http, message({"a": 1}), sign=sign)


async def test_a_lost_answer_is_repeated_under_the_same_id(
    erp: Erp, http: GuardedClient
) -> None:
    """The receiver can tell that it has booked this one."""
    erp.fail(HangUp(after=True))
    with pytest.raises(Unanswered):
        await run(erp, http, message({"a": 1}, step_id="erp"), sign=STANDARD)
    answer = await run(erp, http, message({"a": 1}, step_id="erp"), sign=STANDARD)

    assert erp.accepted == [{"a": 1}]
    assert list(erp.number_by_id) == [f"{EVENT_ID}/erp"]
    assert answer.body["number"] == "SO-00001"


async def test_the_events_own_bytes_are_signed_whatever_they_are(
    server: StandIn, http: GuardedClient
) -> None:
    given = message(raw_body=b"\xff\x00{", content_type="image/png")
    await run(server, http, given, raw=True, sign=STANDARD)

    [got] = server.requests
    key = base64.b64decode(ERP_SECRET.removeprefix("whsec_"))
    stamp = got.headers["webhook-timestamp"]
    signed = f"{got.headers['webhook-id']}.{stamp}.".encode() + b"\xff\x00{"
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert got.body == b"\xff\x00{"
    assert got.headers["content-type"] == "image/png"
    assert got.headers["webhook-signature"] == f"v1,{expected}"


async def test_a_secret_that_is_none_is_named_not_shown(
    server: StandIn, http: GuardedClient
) -> None:
    sign = {"type": "standard", "secret": "${secret:BROKEN}"}
    with pytest.raises(TerminalError, match="BROKEN is not whsec_") as caught:
        await run(server, http, message(), sign=sign)

    assert "canary" not in str(caught.value)
    assert server.requests == []


def digest(signed: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(b"canary-shared", signed, getattr(hashlib, algorithm)).digest()


async def hmac_sent(
    server: StandIn, http: GuardedClient, sign: Mapping[str, Any], method: str = "POST"
) -> Request:
    given = message({"a": 1}, step_id="out")
    await run(server, http, given, sign={**HMAC, **sign}, method=method)
    return server.requests[-1]


async def test_hmac_signs_the_body_by_default(
    server: StandIn, http: GuardedClient
) -> None:
    got = await hmac_sent(server, http, {})

    assert got.headers["x-eio-signature"] == digest(b'{"a":1}').hex()


async def test_hmac_of_a_request_without_body_signs_the_query(
    server: StandIn, http: GuardedClient
) -> None:
    got = await hmac_sent(server, http, {}, method="GET")

    assert got.headers["x-eio-signature"] == digest(b"a=1").hex()


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)],
)
@pytest.mark.parametrize("algorithm", ["sha1", "sha512"])
async def test_hmac_in_other_writings(
    server: StandIn, http: GuardedClient, algorithm: str, encoding: str, encode: Any
) -> None:
    sign = {
        "header": "X-Own",
        "algorithm": algorithm,
        "encoding": encoding,
        "prefix": "v0=",
    }
    got = await hmac_sent(server, http, sign)

    expected = encode(digest(b'{"a":1}', algorithm)).decode()
    assert got.headers["x-own"] == f"v0={expected}"


async def test_hmac_over_a_template(server: StandIn, http: GuardedClient) -> None:
    sign = {
        "template": "v0:{ts}:{id}:{method}:{url}:{query}:{body}:{{x",
        "timestamp_header": "X-Time",
        "id_header": "X-Id",
    }
    got = await hmac_sent(server, http, sign)

    stamp, id_ = got.headers["x-time"], got.headers["x-id"]
    url = f"{server.url}/orders?a=1"
    signed = f'v0:{stamp}:{id_}:POST:{url}:a=1:{{"a":1}}:{{{{x'.encode()
    assert id_ == f"{EVENT_ID}/out"
    assert got.headers["x-eio-signature"] == digest(signed).hex()


async def test_gone_is_final_and_says_so(erp: Erp, http: GuardedClient) -> None:
    erp.fail(Answer(410))
    with pytest.raises(TerminalError, match="asks not to be called any more"):
        await run(erp, http, message(), sign=STANDARD)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_trouble_is_tried_again_when_the_receiver_wants(
    erp: Erp, http: GuardedClient, status: int
) -> None:
    erp.fail(Answer(status, headers={"Retry-After": "11"}))
    with pytest.raises(RetryableError) as caught:
        await run(erp, http, message(), sign=STANDARD)

    assert caught.value.retry_after_s == 11


async def test_a_redirect_is_final(erp: Erp, http: GuardedClient) -> None:
    erp.fail(Answer(308, headers={"Location": f"{erp.url}/else"}))
    with pytest.raises(TerminalError, match="answered 308"):
        await run(erp, http, message(), sign=STANDARD)

    assert len(erp.requests) == 1


async def test_secrets_are_in_no_error(server: StandIn, http: GuardedClient) -> None:
    said = {"error": "you sent canary-shared"}
    server.fail(Answer(400, said))
    with pytest.raises(TerminalError) as caught:
        await run(server, http, message(), sign=HMAC)

    assert str(caught.value) == f"{server.url} answered 400: you sent ***"


@pytest.mark.parametrize(
    ("sign", "mistake"),
    [
        ({"type": "rsa"}, "sign"),
        ({"type": "standard", "secret": "whsec_AAAA"}, "never holds a secret"),
        ({"type": "standard", "secret": []}, "secret"),
        ({**HMAC, "algorithm": "md5"}, "algorithm"),
        ({**HMAC, "template": "{bdy}"}, "template names bdy"),
        ({**HMAC, "template": "{ts}"}, "needs timestamp_header"),
        ({**HMAC, "template": "{id}"}, "needs id_header"),
    ],
)
def test_mistakes_surface_when_the_flow_is_loaded(
    sign: Mapping[str, Any], mistake: str
) -> None:
    with pytest.raises(ValidationError, match=mistake):
        WebhookSend.Parameters.model_validate(
            {"url": "https://a.example", "sign": sign}
        )
