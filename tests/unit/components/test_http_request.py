"""http.request: what it sends, what becomes of the answer, what is tried again."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from hookline.components import Component
from hookline.components.http_request import HttpRequest
from hookline.errors import RetryableError, TerminalError
from hookline.event import Attachment, InMemory, Message
from hookline.http_client import BODY_LIMIT_BYTES, GuardedClient, NotSent, Unanswered
from tests.builders import EVENT_ID, component, message
from tests.standins import Answer, HangUp, Request, Silence, StandIn

SECRETS = {"KEY": "canary-key", "PASSWORD": "pass:canary"}


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with StandIn() as standin:
        yield standin


async def run(
    server: StandIn, http: GuardedClient, given: Message, **parameters: Any
) -> Message:
    step = built(http, {"url": f"{server.url}/path", **parameters})
    [answer] = await step.run(given)
    return answer


def built(http: GuardedClient, parameters: Mapping[str, Any]) -> Component:
    return component(HttpRequest, parameters, http, SECRETS)


async def sent(
    server: StandIn, http: GuardedClient, given: Message, **parameters: Any
) -> Request:
    await run(server, http, given, **parameters)
    return server.requests[-1]


async def test_the_messages_body_is_posted_as_json(
    server: StandIn, http: GuardedClient
) -> None:
    """Numbers of any size stay exact."""
    got = await sent(server, http, message({"n": 2**70, "ü": None}))

    assert (got.method, got.path, got.query) == ("POST", "/path", "")
    assert got.headers["content-type"] == "application/json"
    assert json.loads(got.body) == {"n": 2**70, "ü": None}


async def test_every_call_can_be_told_from_its_repeats_and_traced(
    server: StandIn, http: GuardedClient
) -> None:
    got = await sent(server, http, message(step_id="call"))
    trace = got.headers["traceparent"].split("-")

    assert got.headers["idempotency-key"] == f"{EVENT_ID}/call"
    assert trace[:2] == ["00", EVENT_ID.replace("-", "")]
    assert [len(part) for part in trace] == [2, 32, 16, 2]


async def test_an_event_id_that_is_no_trace_id_is_no_traceparent(
    server: StandIn, http: GuardedClient
) -> None:
    got = await sent(server, http, message(event_id="one"))

    assert "traceparent" not in got.headers


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ("=body.total", "application/json", b"12"),
        ({"sum": "=body.total", "a": [1]}, "application/json", b'{"sum":12,"a":[1]}'),
        ("Grüße", "text/plain; charset=utf-8", "Grüße".encode()),
        ("== no expression", "text/plain; charset=utf-8", b"= no expression"),
    ],
)
async def test_a_value_is_sent_as_json_a_string_as_text(
    server: StandIn,
    http: GuardedClient,
    body: Any,
    content_type: str,
    expected: bytes,
) -> None:
    got = await sent(server, http, message({"total": 12}), body=body)

    assert (got.headers["content-type"], got.body) == (content_type, expected)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_without_being_told_these_methods_send_no_body(
    server: StandIn, http: GuardedClient, method: str
) -> None:
    got = await sent(server, http, message({"a": 1}), method=method)

    assert (got.method, got.body) == (method, b"")
    assert "content-type" not in got.headers


async def test_raw_passes_the_events_own_bytes(
    server: StandIn, http: GuardedClient
) -> None:
    event = message({"a": 1}, raw_body=b"<a>\xff</a>", content_type="text/xml")
    got = await sent(server, http, event, raw=True, method="PUT")

    assert (got.method, got.body) == ("PUT", b"<a>\xff</a>")
    assert got.headers["content-type"] == "text/xml"


async def test_headers_and_query_are_rendered(
    server: StandIn, http: GuardedClient
) -> None:
    """Null leaves one out, a list repeats it."""
    got = await sent(
        server,
        http,
        message({"id": 7, "tags": ["x y", "&"]}),
        url="='" + server.url + "/a?b=1'",
        headers={"X-Id": "=body.id", "X-None": "=body.none", "X-Key": "${secret:KEY}"},
        query={"tag": "=body.tags", "none": "=body.none", "yes": True},
    )

    assert got.query == "b=1&tag=x+y&tag=%26&yes=true"
    assert (got.headers["x-id"], got.headers["x-key"]) == ("7", "canary-key")
    assert "x-none" not in got.headers


@pytest.mark.parametrize(
    ("parameters", "mistake"),
    [
        ({"headers": "=body.n"}, "does not give names and values"),
        ({"headers": {"x-a": {"b": 1}}}, "x-a is neither text nor a number"),
        ({"url": "=body.n"}, "URL cannot be used"),
        ({"url": "=body.none"}, "gives nothing where text is needed"),
        ({"body": "=vars.broken"}, "cannot be written as JSON"),
    ],
)
async def test_what_cannot_be_sent_is_final(
    server: StandIn, http: GuardedClient, parameters: Mapping[str, Any], mistake: str
) -> None:
    given = message({"n": 1}, variables={"broken": ["\ud800"]})
    with pytest.raises(TerminalError, match=mistake):
        await run(server, http, given, **parameters)

    assert server.requests == []


async def test_a_query_goes_before_the_fragment(
    server: StandIn, http: GuardedClient
) -> None:
    url = f"{server.url}/a#part"
    assert (await sent(server, http, message(), url=url, query={"a": 1})).query == "a=1"
    assert (await sent(server, http, message(), url=url, query={})).query == ""


async def test_a_content_type_of_the_flows_own_wins(
    server: StandIn, http: GuardedClient
) -> None:
    headers = {"Content-Type": "application/xml"}
    got = await sent(server, http, message(), body="<a/>", headers=headers)

    assert got.headers["content-type"] == "application/xml"


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        (
            {"type": "basic", "username": "me", "password": "${secret:PASSWORD}"},
            "authorization",
            "Basic bWU6cGFzczpjYW5hcnk=",
        ),
        (
            {"type": "bearer", "token": "${secret:KEY}"},
            "authorization",
            "Bearer canary-key",
        ),
        ({"type": "api_key", "value": "${secret:KEY}"}, "x-api-key", "canary-key"),
        (
            {"type": "api_key", "value": "${secret:KEY}", "header": "X-Own"},
            "x-own",
            "canary-key",
        ),
    ],
)
async def test_credentials_travel_in_headers(
    server: StandIn,
    http: GuardedClient,
    auth: Mapping[str, str],
    header: str,
    value: str,
) -> None:
    got = await sent(server, http, message(), auth=auth)

    assert got.headers[header] == value


async def test_an_api_key_may_travel_in_the_query(
    server: StandIn, http: GuardedClient
) -> None:
    auth = {"type": "api_key", "in": "query", "value": "${secret:KEY}"}
    got = await sent(server, http, message(), auth=auth, query={"a": 1})

    assert got.query == "a=1&api_key=canary-key"


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"n": 1180591620717411303424}', {"n": 2**70}),
        ("application/problem+json; charset=utf-8", b"[1]", [1]),
        ("text/plain; charset=latin-1", b"Gr\xfc\xdfe", "Grüße"),
        ("application/xml", b"<a/>", "<a/>"),
        ("application/json", b"", None),
    ],
)
async def test_the_answer_becomes_the_message(
    server: StandIn,
    http: GuardedClient,
    content_type: str,
    body: bytes,
    expected: Any,
) -> None:
    server.fail(Answer(201, body, {"Content-Type": content_type, "X-Id": "1"}))
    given = message(attachments={"old": Attachment("a/b", InMemory(b""))})
    answer = await run(server, http, given)

    assert answer.body == expected
    assert (answer.status, answer.headers["x-id"]) == (201, "1")
    assert answer.attachments == {}


@pytest.mark.parametrize(
    ("content_type", "name"),
    [("image/png", "payload.png"), ("text/plain; charset=utf-8", "payload.txt")],
)
async def test_an_answer_that_is_no_text_becomes_an_attachment(
    server: StandIn, http: GuardedClient, content_type: str, name: str
) -> None:
    server.fail(Answer(200, b"\xff\x00", {"Content-Type": content_type}))
    answer = await run(server, http, message())

    assert answer.body == {}
    assert answer.attachments == {name: Attachment(content_type, InMemory(b"\xff\x00"))}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_passing_trouble_is_tried_again(
    server: StandIn, http: GuardedClient, status: int
) -> None:
    server.fail(Answer(status))
    with pytest.raises(RetryableError, match=f"{server.url} answered {status}"):
        await run(server, http, message())


@pytest.mark.parametrize("status", [302, 304, 400, 401, 403, 404, 409, 410, 422])
async def test_any_other_status_is_final(
    server: StandIn, http: GuardedClient, status: int
) -> None:
    server.fail(Answer(status))
    with pytest.raises(TerminalError, match=f"{server.url} answered {status}"):
        await run(server, http, message())


@pytest.mark.parametrize("expect", [404, [200, 404]])
async def test_the_flow_may_expect_another_status(
    server: StandIn, http: GuardedClient, expect: Any
) -> None:
    server.fail(Answer(404, {"found": False}))
    answer = await run(server, http, message(), expect=expect)

    assert (answer.status, answer.body) == (404, {"found": False})


async def test_a_success_that_was_not_expected_is_final(
    server: StandIn, http: GuardedClient
) -> None:
    server.fail(Answer(202))
    with pytest.raises(TerminalError, match="answered 202"):
        await run(server, http, message(), expect=[200])


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("99999999", 3600.0),
        ("soon", None),
        ("-5", None),
    ],
)
async def test_retry_after_is_heeded(
    server: StandIn, http: GuardedClient, asked: str, seconds: float | None
) -> None:
    """A date is read by the answer's own clock."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.fail(Answer(503, headers={"Retry-After": asked, "Date": date}))
    with pytest.raises(RetryableError) as caught:
        await run(server, http, message())

    assert caught.value.retry_after_s == seconds


async def test_a_lost_answer_is_tried_again_with_the_same_key(
    server: StandIn, http: GuardedClient
) -> None:
    server.fail(HangUp(after=True))
    with pytest.raises(Unanswered):
        await run(server, http, message())
    await run(server, http, message())

    first, second = server.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


async def test_the_timeout_bounds_the_call(
    server: StandIn, http: GuardedClient
) -> None:
    server.fail(Silence())
    with pytest.raises(Unanswered):
        await run(server, http, message(), timeout="100ms")


async def test_an_unreachable_host_is_tried_again(http: GuardedClient) -> None:
    async with StandIn() as gone:
        url = gone.url
    with pytest.raises(NotSent):
        await built(http, {"url": url}).run(message())


async def test_an_answer_that_is_too_long_is_final(
    server: StandIn, http: GuardedClient
) -> None:
    """Half a body must not pass for a whole one."""
    body = b"x" * (BODY_LIMIT_BYTES + 1)
    server.fail(Answer(200, body, {"Content-Type": "text/plain"}))
    with pytest.raises(TerminalError, match="more than the 1048576 bytes"):
        await run(server, http, message())


async def test_json_that_is_none_is_final(server: StandIn, http: GuardedClient) -> None:
    server.fail(Answer(200, b"<html>", {"Content-Type": "application/json"}))
    with pytest.raises(TerminalError, match="not the JSON"):
        await run(server, http, message())


async def test_errors_say_what_the_answer_says_without_the_secrets(
    server: StandIn, http: GuardedClient
) -> None:
    """Some servers repeat what they were sent."""
    said = "bad\ntotal; you sent canary-key and bWU6cGFzczpjYW5hcnk= pass:canary"
    server.fail(Answer(422, {"title": "no", "detail": said}))
    auth = {"type": "basic", "username": "me", "password": "${secret:PASSWORD}"}
    headers = {"x-key": "${secret:KEY}"}
    with pytest.raises(TerminalError) as caught:
        await run(server, http, message(), auth=auth, headers=headers)

    expected = f"{server.url} answered 422: bad total; you sent *** and *** ***"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("parameters", "mistake"),
    [
        ({}, "url"),
        ({"url": "ftp://a.example"}, "url"),
        ({"url": ["https://a.example"]}, "url"),
        ({"url": "=1 +"}, "url"),
        ({"method": "FETCH"}, "method"),
        ({"timeout": "-1s"}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"expect": []}, "expect"),
        ({"expect": [99]}, "expect"),
        ({"headers": "x: 1"}, "headers"),
        ({"query": ["a"]}, "query"),
        ({"raw": True, "body": "x"}, "leave out body or raw"),
        ({"auth": {"type": "digest"}}, "auth"),
        ({"auth": {"type": "bearer", "token": "plain"}}, "never holds a secret"),
        ({"bdy": 1}, "bdy"),
    ],
)
def test_mistakes_surface_when_the_flow_is_loaded(
    parameters: Mapping[str, Any], mistake: str
) -> None:
    given = {"url": "https://a.example", **parameters} if parameters else {}
    with pytest.raises(ValidationError, match=mistake):
        HttpRequest.Parameters.model_validate(given)
