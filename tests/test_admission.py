"""What a flow says of how much it takes, from where, and of how its answers look."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.caller import Answer, call_raw, request_bytes
from tests.instance import JSON, Instance, running

SECRETS = {"HOOKLINE_SECRET_KEY": "k", "HOOKLINE_SECRET_SIGN": "s3cret"}
SETTINGS = {
    **SECRETS,
    "HOOKLINE_ROUTER__FAILURES": "3",
    "HOOKLINE_ROUTER__FAILURES_PER_S": "0.01",
}
LARGE = b'"' + b"x" * 300_000 + b'"'
KEY = ("x-api-key", "k")
WRONG_KEY = ("x-api-key", "wrong")


def flow(flow_id: str, trigger: str) -> str:
    return f"""
id: {flow_id}
trigger: {{webhook: {{{trigger}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""


API_KEY = 'auth: {type: api_key, value: "${secret:KEY}"}'
SIGNED = 'auth: {type: hmac, secret: "${secret:SIGN}"}'
OPEN = "auth: {type: none}"
FLOWS = [
    flow("open", OPEN),
    flow("keyed", API_KEY),
    flow("signed", SIGNED),
    flow("rated", f"{OPEN}, rate: {{limit: 2, per: hour}}"),
    flow("signed-rated", f"{SIGNED}, rate: {{limit: 1, per: hour}}"),
    flow("few-bytes", f"{OPEN}, rate: {{limit: 100, per: hour, bytes: 20B}}"),
    flow("near", f"{API_KEY}, allow_from: [192.0.2.0/24, 127.0.0.0/8]"),
    flow("far", f"{API_KEY}, allow_from: 203.0.113.0/24"),
    flow(
        "dressed",
        f"{API_KEY}, max_body: 10B, rate: {{limit: 2, per: hour}}, "
        "on_reject: {status: 404, headers: {X-Shop: acme}, body: {gone: true}}",
    ),
    flow(
        "computed",
        f"{OPEN}, methods: [GET, POST], response: {{status: 201, "
        "headers: {X-Name: =body.name, X-Flow: =flow.id, X-None: =body.nothing}, "
        "body: {hello: =body.name, id: =event.id, rest: =path, sign: ==}}",
    ),
    flow("text", f"{OPEN}, response: {{body: =$uppercase(body.name)}}"),
    flow("failing", f"{OPEN}, response: {{body: =$uppercase(body.number)}}"),
    flow("endless", f"{OPEN}, response: {{body: '=$sum([1..9000000])'}}"),
    flow("two-lines", f"{OPEN}, response: {{headers: {{X-A: =body.text}}}}"),
    flow(
        "shop",
        f"{API_KEY}, cors: {{origins: ['https://shop.example', 'http://l:80'], "
        "headers: [X-More], max_age: 5m}",
    ),
    flow("any-site", f"{OPEN}, cors: {{origins: '*'}}"),
    flow(
        "grid",
        f"{OPEN}, handshake: eventgrid.azure.net, rate: {{limit: 2, per: second}}",
    ),
    flow("any-grid", f"{OPEN}, handshake: ['*']"),
]


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, *FLOWS, environment=SETTINGS) as instance:
        yield instance


def signed(body: bytes, secret: str = "s3cret") -> tuple[str, str]:
    digest = hmac.digest(secret.encode(), body, hashlib.sha256)
    return "x-eio-signature", digest.hex()


async def statuses(
    hookline: Instance, flow_id: str, times: int, *headers: tuple[str, str]
) -> Sequence[int]:
    answers = [
        await hookline.send(flow_id, b"{}", [JSON, *headers]) for _ in range(times)
    ]
    return [answer.status for answer in answers]


async def head_only(hookline: Instance, flow_id: str, *headers: tuple[str, str]) -> int:
    """The status for a head whose large body never comes."""
    length = ("Content-Length", "300000")
    path = f"/hook/{flow_id}"
    head = request_bytes("POST", path, [JSON, length, *headers], None)
    async with asyncio.timeout(5):
        return (await call_raw(hookline.hosted.http, head)).status


class TestRates:
    """`rate` and `in_flight`."""

    @pytest.mark.security("S44")
    async def test_beyond_its_rate_a_flow_says_when_to_come_back(
        self, hookline: Instance
    ) -> None:
        """429 with Retry-After and what is left; nothing is kept; others go on."""
        first = await hookline.send("rated", b"{}")
        second = await hookline.send("rated", b"{}")
        third = await hookline.send("rated", b"{}")

        assert [first.status, second.status, third.status] == [200, 200, 429]
        policy = '"requests";q=2;w=3600'
        assert first.headers["ratelimit-policy"] == policy
        assert first.headers["ratelimit"].startswith('"requests";r=1;t=1800')
        assert third.headers["ratelimit-policy"] == policy
        assert 1790 < int(third.headers["retry-after"]) <= 1800
        retry_after = third.headers["retry-after"]
        assert third.headers["ratelimit"] == f'"requests";r=0;t={retry_after}'
        assert third.json["type"] == "urn:hookline:problem:too-many-requests"
        assert "x-event-id" not in third.headers
        assert await statuses(hookline, "open", 3) == [200] * 3

    async def test_a_new_version_does_not_fill_the_bucket(
        self, hookline: Instance
    ) -> None:
        """The same rate goes on where it was; another rate begins anew."""
        await statuses(hookline, "rated", 2)
        more = f"{OPEN}, raw: true, rate: {{limit: %d, per: hour}}"

        await hookline.apply(flow("rated", more % 2))
        same = await statuses(hookline, "rated", 1)
        await hookline.apply(flow("rated", more % 3))
        other = await statuses(hookline, "rated", 1)

        assert (same, other) == ([429], [200])

    async def test_a_large_body_counts_once_and_is_refused_before_it_comes(
        self, hookline: Instance
    ) -> None:
        """Two of an hour: a large one, a small one, and the third head is enough."""
        large = await hookline.send("rated", LARGE)
        small = await hookline.send("rated", b"{}")

        assert (large.status, small.status) == (200, 200)
        assert await head_only(hookline, "rated") == 429

    async def test_who_has_no_credential_takes_nothing_of_the_rate(
        self, hookline: Instance
    ) -> None:
        """Wrong signatures, small and large, leave the one request of the hour."""
        for body in (b"{}", LARGE):
            wrong = [JSON, signed(body, "wrong")]
            answer = await hookline.send("signed-rated", body, wrong)
            assert answer.status == 401

        right = [JSON, signed(b"{}")]
        assert (await hookline.send("signed-rated", b"{}", right)).status == 200
        assert (await hookline.send("signed-rated", b"{}", right)).status == 429

    @pytest.mark.security("S44")
    async def test_a_flow_can_count_bytes(self, hookline: Instance) -> None:
        """Twenty bytes an hour: fifteen, then no fifteen more, but five."""
        fifteen, five = b'"' + b"x" * 13 + b'"', b'"xxx"'
        answers = [
            await hookline.send("few-bytes", body) for body in (fifteen, fifteen, five)
        ]

        assert [answer.status for answer in answers] == [200, 429, 200]
        assert (
            '"bytes";q=20;qu="content-bytes";w=3600'
            in (answers[0].headers["ratelimit-policy"])
        )
        assert int(answers[1].headers["retry-after"]) > 1


class TestFailures:
    """The budget of wrong credentials."""

    async def test_a_source_that_keeps_failing_is_refused_at_once(
        self, hookline: Instance
    ) -> None:
        """Three are 401, then 429 with Retry-After; another flow is not concerned."""
        assert await statuses(hookline, "keyed", 3, WRONG_KEY) == [401] * 3
        refused = await hookline.send("keyed", b"{}", [JSON, WRONG_KEY])

        assert refused.status == 429
        assert 90 < int(refused.headers["retry-after"]) <= 100
        assert await head_only(hookline, "keyed", WRONG_KEY) == 429
        assert await statuses(hookline, "near", 1, KEY) == [200]

    async def test_who_was_right_gets_in_beside_who_is_wrong(
        self, hookline: Instance
    ) -> None:
        """One address for both: the wrong keys are refused, the right one is not."""
        await statuses(hookline, "keyed", 1, KEY)
        assert (await statuses(hookline, "keyed", 20, WRONG_KEY))[3:] == [429] * 17

        assert await statuses(hookline, "keyed", 3, KEY) == [200] * 3

    @pytest.mark.security("S43")
    async def test_a_right_signature_gets_in_after_any_number_of_wrong_ones(
        self, hookline: Instance
    ) -> None:
        """From the same address, though it was never right before."""
        wrong = await statuses(hookline, "signed", 20, signed(b"{}", "wrong"))

        assert wrong == [401] * 3 + [429] * 17
        assert await head_only(hookline, "signed", signed(LARGE)) == 429
        assert await statuses(hookline, "signed", 2, signed(b"{}")) == [200] * 2


class TestAllowFrom:
    """`allow_from`."""

    async def test_a_sender_elsewhere_is_refused_whatever_it_knows(
        self, hookline: Instance
    ) -> None:
        """The right key from one of the networks gets in; from elsewhere it is 401."""
        elsewhere = await hookline.send("far", b"{}", [JSON, KEY])

        assert await statuses(hookline, "near", 1, KEY) == [200]
        assert await statuses(hookline, "near", 1, WRONG_KEY) == [401]
        assert elsewhere.status == 401
        assert "www-authenticate" not in elsewhere.headers
        assert "address" not in elsewhere.json["detail"]
        assert await head_only(hookline, "far", KEY) == 401


class TestOnReject:
    """`on_reject`."""

    async def test_every_refusal_looks_as_the_flow_has_set(
        self, hookline: Instance
    ) -> None:
        """Wrong key, wrong method, too large, broken JSON: the same, and no hints."""
        answers = [
            await hookline.send("dressed", b"{}", [JSON, WRONG_KEY]),
            await hookline.send("dressed", b"{}", [JSON, KEY], method="PUT"),
            await hookline.send("dressed", b'"01234567890"', [JSON, KEY]),
            await hookline.send("dressed", LARGE, [JSON, KEY]),
            await hookline.send("dressed", b"{", [JSON, KEY]),
        ]

        for answer in answers:
            assert (answer.status, answer.json) == (404, {"gone": True})
            assert answer.headers["x-shop"] == "acme"
            assert answer.headers["content-type"] == "application/json"
            assert len(answer.headers["x-request-id"]) == 32
            assert not {"www-authenticate", "allow"} & answer.headers.keys()

    async def test_it_still_says_when_to_come_back(self, hookline: Instance) -> None:
        """A flow over its rate: its own look, with Retry-After and RateLimit."""
        await statuses(hookline, "dressed", 2, KEY)

        refused = await hookline.send("dressed", b"{}", [JSON, KEY])

        assert (refused.status, refused.json) == (404, {"gone": True})
        assert int(refused.headers["retry-after"]) > 1
        assert {"ratelimit", "ratelimit-policy"} <= refused.headers.keys()


class TestReplies:
    """`response` with expressions."""

    async def test_an_answer_is_computed_from_the_request(
        self, hookline: Instance
    ) -> None:
        """Body, headers, path, event id; literals and missing values beside them."""
        answer = await hookline.send("computed", b'{"name": "Ada"}', rest="/a%20b")

        assert answer.status == 201
        event_id = answer.headers["x-event-id"]
        assert answer.json == {
            "hello": "Ada",
            "id": event_id,
            "rest": "/a%20b",
            "sign": "=",
        }
        assert answer.headers["x-name"] == "Ada"
        assert answer.headers["x-flow"] == "computed"
        assert "x-none" not in answer.headers
        assert await hookline.result(answer) == {"name": "Ada"}

    async def test_a_query_is_the_body_of_a_get(self, hookline: Instance) -> None:
        answer = await hookline.send(
            "computed", None, (), method="GET", rest="?name=Ada"
        )

        assert answer.json["hello"] == "Ada"

    async def test_text_is_sent_as_text(self, hookline: Instance) -> None:
        answer = await hookline.send("text", b'{"name": "Ada"}')

        assert answer.body == b"ADA"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"

    @pytest.mark.parametrize(
        ("flow_id", "body"),
        [
            ("failing", b'{"number": 1}'),
            ("endless", b"{}"),
            ("two-lines", b'{"text": "a\\r\\nSet-Cookie: b"}'),
        ],
    )
    async def test_an_answer_that_cannot_be_computed_loses_no_event(
        self, hookline: Instance, flow_id: str, body: bytes
    ) -> None:
        """The default answer, nothing of the failed one, and the event runs."""
        answer = await hookline.send(flow_id, body)

        assert answer.status == 200
        assert answer.json["message"] == "thank you"
        assert not {"x-a", "set-cookie"} & answer.headers.keys()
        assert await hookline.result(answer) is not None

    async def test_a_body_that_does_not_parse_is_refused_as_ever(
        self, hookline: Instance
    ) -> None:
        assert (await hookline.send("computed", b"{")).status == 400


def origin(site: str) -> tuple[str, str]:
    return "Origin", site


class TestScripts:
    """`cors`."""

    async def preflight(
        self, hookline: Instance, flow_id: str, *headers: tuple[str, str]
    ) -> Answer:
        asked = ("Access-Control-Request-Method", "POST")
        return await hookline.send(flow_id, None, [asked, *headers], method="OPTIONS")

    async def test_a_preflight_needs_no_credential(self, hookline: Instance) -> None:
        """Methods and headers, those of the credential among them; cached by origin."""
        shop = "https://shop.example"
        answer = await self.preflight(hookline, "shop", origin(shop))

        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == shop
        assert answer.headers["vary"] == "Origin"
        assert answer.headers["access-control-allow-methods"] == "POST"
        allowed = answer.headers["access-control-allow-headers"]
        assert allowed == "content-type, x-api-key, x-more"
        assert answer.headers["access-control-max-age"] == "300"

    @pytest.mark.parametrize("site", ["https://evil.example", "null", ""])
    async def test_other_sites_are_allowed_nothing(
        self, hookline: Instance, site: str
    ) -> None:
        """Neither on a preflight nor on an answer."""
        preflight = await self.preflight(hookline, "shop", origin(site))
        accepted = await hookline.send("shop", b"{}", [JSON, KEY, origin(site)])

        for answer in (preflight, accepted):
            names = [n for n in answer.headers if n.startswith("access-control")]
            assert (names, answer.headers["vary"]) == ([], "Origin")

    async def test_scripts_may_read_answers_and_refusals(
        self, hookline: Instance
    ) -> None:
        """With the ids that they need to ask about them."""
        shop = origin("http://l:80")
        accepted = await hookline.send("shop", b"{}", [JSON, KEY, shop])
        refused = await hookline.send("shop", b"{}", [JSON, WRONG_KEY, shop])

        assert (accepted.status, refused.status) == (200, 401)
        for answer in (accepted, refused):
            assert answer.headers["access-control-allow-origin"] == "http://l:80"
            exposed = answer.headers["access-control-expose-headers"]
            assert exposed.startswith("x-request-id, x-event-id, ")

    async def test_a_flow_may_be_for_all_sites(self, hookline: Instance) -> None:
        answer = await hookline.send("any-site", b"{}", [JSON, origin("http://a")])

        assert answer.headers["access-control-allow-origin"] == "*"

    async def test_other_flows_say_nothing_of_scripts(self, hookline: Instance) -> None:
        answer = await self.preflight(hookline, "open", origin("http://a"))

        assert answer.headers["allow"] == "POST, HEAD, OPTIONS"
        assert "access-control-allow-origin" not in answer.headers


class TestHandshake:
    """`handshake`: the CloudEvents one."""

    @pytest.mark.parametrize(
        ("flow_id", "sender", "granted"),
        [
            ("grid", "EventGrid.azure.net", ("eventgrid.azure.net", "120")),
            ("grid", "evil.example", None),
            ("any-grid", "a.example", ("*", "*")),
            ("open", "eventgrid.azure.net", None),
        ],
    )
    async def test_a_platform_that_may_deliver_is_told_so(
        self,
        hookline: Instance,
        flow_id: str,
        sender: str,
        granted: tuple[str, str] | None,
    ) -> None:
        """The origin and the rate a minute, where the flow asks for it."""
        asked = [("WebHook-Request-Origin", sender)]
        answer = await hookline.send(flow_id, None, asked, method="OPTIONS")

        names = ("webhook-allowed-origin", "webhook-allowed-rate")
        told = tuple(answer.headers[name] for name in names if name in answer.headers)
        assert told == (granted or ())
        assert answer.status == (200 if granted else 204)
