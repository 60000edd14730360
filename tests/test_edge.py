"""The edge: what a webhook caller sees, refusals above all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.caller import Answer, call, call_raw, read_answer, request_bytes
from tests.instance import JSON, Instance, running

OPEN = """
id: open
trigger: {webhook: {methods: [POST, PUT], max_body: 100kB, auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
POLITE = """
id: polite
trigger:
  webhook:
    auth: {type: none}
    response: {status: 202, headers: {X-Shop: acme}, body: {ok: true}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
GUARDED = """
id: guarded
trigger: {webhook: {auth: {type: api_key, value: "${secret:KEY}"}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
ENVIRONMENT = {
    "HOOKLINE_SECRET_KEY": "k",
    "HOOKLINE_INGRESS__HEAD_TIMEOUT_S": "0.2",
    "HOOKLINE_INGRESS__BODY_TIMEOUT_S": "0.2",
}


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    flows = (OPEN, POLITE, GUARDED)
    async with running(tmp_path, *flows, environment=ENVIRONMENT) as instance:
        yield instance


def assert_problem(answer: Answer, status: int, slug: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["type"] == f"urn:hookline:problem:{slug}"
    assert problem["status"] == status
    assert problem["detail"] == problem["error"]
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert len(problem["requestId"]) == 32


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/hook", "/hook/", "/hook/nobody", "/hook/op%65n", "/hook/open%2f"),
        *(
            "/hook/op.en",
            "/hook/%00",
            "/hook/" + "a" * 65,
            "/hook/\N{CYRILLIC SMALL LETTER O}pen",
            "/hooks/open",
        ),
    ],
)
async def test_what_is_no_flow_is_404(hookline: Instance, path: str) -> None:
    """Unknown, malformed and look-alike ids, and every other path."""
    encoded = path.encode().decode("latin-1")

    answer = await call(hookline.hosted.http, "POST", encoded, [JSON], b"{}")

    if answer.status == 400:  # not even a request, says the parser
        assert not path.isascii()
        return
    assert_problem(answer, 404, "unknown-flow")


async def test_a_method_that_is_not_allowed_is_405(hookline: Instance) -> None:
    """`Allow` names those that are."""
    answer = await hookline.send("open", None, [], method="GET")

    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST, PUT"


async def test_head_tells_whether_a_flow_takes_requests(hookline: Instance) -> None:
    """200 or 404, without a body, an event or a credential."""
    there = await hookline.send("guarded", None, [], method="HEAD")
    not_there = await hookline.send("nobody", None, [], method="HEAD")

    assert (there.status, not_there.status) == (200, 404)
    assert "x-event-id" not in there.headers


async def test_options_tells_the_methods(hookline: Instance) -> None:
    """No credential is needed to ask."""
    answer = await hookline.send("open", None, [], method="OPTIONS")

    assert answer.status == 204
    assert answer.headers["allow"] == "POST, PUT, HEAD, OPTIONS"


async def test_a_body_needs_a_content_type(hookline: Instance) -> None:
    """Without one it is 415; any named type is taken."""
    missing = await hookline.send("open", b"{}", [])
    unheard_of = await hookline.send("open", b"{}", [("Content-Type", "x/y")])

    assert_problem(missing, 415, "missing-content-type")
    assert unheard_of.status == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a": '),
        ("application/json", b"\xff"),
        ("application/json", b"[" * 100_000),
        ("application/json", b"9" * 5_000),
        ("application/xml", b"<a><b></a>"),
        ("application/xml", b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'),
        ("text/plain; charset=utf-8", b"\xff\xfe"),
    ],
)
async def test_a_body_that_does_not_parse_is_400(
    hookline: Instance, content_type: str, body: bytes
) -> None:
    """The detail says where; nothing is kept."""
    answer = await hookline.send("open", body, [("Content-Type", content_type)])

    assert_problem(answer, 400, "malformed")


@pytest.mark.parametrize("size", [100_000, 100_001])
async def test_a_body_over_the_flows_limit_is_413(
    hookline: Instance, size: int
) -> None:
    """The limit itself is taken."""
    body = b'"' + b"x" * (size - 2) + b'"'

    answer = await hookline.send("open", body)

    if size == 100_000:
        assert answer.status == 200
    else:
        assert_problem(answer, 413, "too-large")


async def test_a_declared_size_over_the_limit_is_413_at_once(
    hookline: Instance,
) -> None:
    """Ten declared gigabytes are not waited for."""
    head = request_bytes(
        "POST", "/hook/open", [JSON, ("Content-Length", "9" * 10)], None
    )

    answer = await call_raw(hookline.hosted.http, head + b"{}")

    assert_problem(answer, 413, "too-large")


async def test_a_chunked_body_over_the_limit_is_413_when_it_crosses_it(
    hookline: Instance,
) -> None:
    """A body without an end is not read to it."""
    chunked = [JSON, ("Transfer-Encoding", "chunked")]
    head = request_bytes("POST", "/hook/open", chunked, None)
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"

    answer = await call_raw(hookline.hosted.http, head + chunk * 2)

    assert_problem(answer, 413, "too-large")


async def test_a_caller_without_a_credential_is_refused_before_its_body(
    hookline: Instance,
) -> None:
    """The body has not been sent, and the answer is there."""
    head = request_bytes(
        "POST", "/hook/guarded", [JSON, ("Content-Length", "9000")], None
    )

    answer = await call_raw(hookline.hosted.http, head)

    assert_problem(answer, 401, "unauthenticated")


async def test_a_body_that_does_not_come_is_408(hookline: Instance) -> None:
    """The deadline is the edge's, not the sender's."""
    head = request_bytes("POST", "/hook/open", [JSON, ("Content-Length", "9")], None)

    answer = await call_raw(hookline.hosted.http, head + b"{")

    assert_problem(answer, 408, "too-slow")


@pytest.mark.parametrize(
    "start", [b"", b"POST /hook/open HTTP/1.1\r\nHost: x\r\nX-A: "]
)
async def test_a_head_that_does_not_come_ends_its_connection(
    hookline: Instance, start: bytes
) -> None:
    """Idle and slow connections are closed; a first request is not owed patience."""
    answer = await call_raw(hookline.hosted.http, start)

    assert answer.status == 408


async def test_a_second_head_that_does_not_come_ends_its_connection(
    hookline: Instance,
) -> None:
    """The deadline holds on a connection that was used before, too."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_bytes("POST", "/hook/open", [JSON], b"{}"))
    first = await read_answer(reader)
    writer.write(b"POST /hook/open HTTP/1.1\r\nX-Slow: ")

    second = await read_answer(reader)

    writer.close()
    assert (first.status, second.status) == (200, 408)


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"POST /hook/open HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        (
            b"POST /hook/open HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ],
)
async def test_broken_framing_is_400(hookline: Instance, request_: bytes) -> None:
    """With a problem body like every refusal, and the connection ends."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_)

    answer = await read_answer(reader)
    rest = await reader.read()

    writer.close()
    assert_problem(answer, 400, "malformed")
    assert rest == b""


async def test_a_flow_gives_its_own_reply(hookline: Instance) -> None:
    """Status, headers and body as the flow file says; the ids are headers."""
    answer = await hookline.send("polite", b"{}")

    assert answer.status == 202
    assert answer.headers["x-shop"] == "acme"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"ok": True}
    assert answer.headers["x-event-id"]


@pytest.mark.parametrize(
    ("sent", "honoured"),
    [("0123456789abcdef" * 2, True), ("0123456789ABCDEF" * 2, False), ("x\\n", False)],
)
async def test_a_callers_request_id_is_honoured_if_well_formed(
    hookline: Instance, sent: str, honoured: bool
) -> None:
    """32 lower-case hex digits; anything else gets a new one."""
    answer = await hookline.send("open", b"{}", [JSON, ("X-Request-Id", sent)])

    assert (answer.headers["x-request-id"] == sent) is honoured
    assert answer.json["requestId"] == answer.headers["x-request-id"]


async def test_requests_in_a_row_are_answered_in_a_row(hookline: Instance) -> None:
    """One connection, many requests, each with its own answer."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"".join(request_bytes("POST", "/hook/open", [JSON], b"1") for _ in range(20))
    )

    answers = [await read_answer(reader) for _ in range(20)]

    writer.close()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["x-event-id"] for answer in answers}) == 20


async def test_a_target_that_is_no_text_is_400(hookline: Instance) -> None:
    """Bytes that are not UTF-8 must be percent-encoded."""
    answer = await hookline.send("open", b"1", rest="/\xff?a=\xfe")

    assert_problem(answer, 400, "malformed")


@pytest.mark.parametrize(
    "body", [b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"-1\r\n\r\n"]
)
@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "apart"])
async def test_a_body_with_broken_chunks_is_400(
    hookline: Instance, body: bytes, apart: bool
) -> None:
    """Whether it comes with its head or after it; nothing is kept."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    chunked = [JSON, ("Transfer-Encoding", "chunked")]
    head = request_bytes("POST", "/hook/open", chunked, None)
    if apart:
        writer.write(head + b"1\r\n1\r\n")
        await writer.drain()
        writer.write(body)
    else:
        writer.write(head + body)

    answer = await read_answer(reader)

    writer.close()
    assert answer.status == 400
    assert not hookline.ends.order


async def test_a_sender_that_leaves_in_mid_body_leaves_nothing(
    hookline: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    """No event, and no fault of ours in the log."""
    host, _, port = hookline.hosted.http.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = request_bytes("POST", "/hook/open", [JSON, ("Content-Length", "9")], None)
    writer.write(head + b"{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    answer = await hookline.send("open", b"1")
    await hookline.result(answer)

    assert len(hookline.ends.order) == 1
    assert "request.failed" not in "".join(capsys.readouterr())
