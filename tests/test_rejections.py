"""Refused requests: kept for the flow's owner, within bounds, and accepted after all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from hookline.v1 import (
    event_pb2,
    execution_pb2,
    execution_pb2_grpc,
    rejection_pb2,
    rejection_pb2_grpc,
)
from tests.caller import call_raw, read_answer, request_bytes
from tests.instance import JSON, Instance, running
from tests.instance_on_kafka import Opening
from tests.waiting import until_asked

KEYED = """
id: keyed
trigger: {webhook: {auth: {type: api_key, value: "${secret:KEY}"}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
KEPT = """
id: kept
trigger:
  webhook:
    auth: {type: api_key, in: query, value: "${secret:KEY}"}
    keep_rejected: true
    max_body: 2KB
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
SIGNED = """
id: signed
trigger:
  webhook:
    auth:
      {type: hmac, secret: "${secret:KEY}", template: "{ts}.{body}",
       timestamp_header: x-ts}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
WIDE = KEPT.replace("id: kept", "id: wide").replace("max_body: 2KB", "max_body: 1MB")
# Credentials whose names do not give them away.
DOORS = [
    f"""
id: door-{place}
trigger:
  webhook:
    auth: {{type: api_key, in: {place}, {name}: X-Door, value: "${{secret:KEY}}"}}
    keep_rejected: true
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
    for place, name in (("header", "header"), ("query", "parameter"))
]
FLOWS = (KEYED, KEPT, SIGNED, WIDE, *DOORS)
SECRETS = {"HOOKLINE_SECRET_KEY": "right-key"}
Summaries = Sequence[rejection_pb2.RejectionSummary]


@pytest.fixture
async def hookline(open_instance: Opening) -> AsyncIterator[Instance]:
    async with open_instance(*FLOWS, environment=SECRETS) as instance:
        yield instance


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, *FLOWS, environment=SECRETS) as instance:
        yield instance


def stub_of(hookline: Instance) -> "rejection_pb2_grpc.RejectionServiceAsyncStub":
    return rejection_pb2_grpc.RejectionServiceStub(hookline.channel)


async def listed(
    hookline: Instance,
    flow_id: str = "",
    reason: "event_pb2.Reason.ValueType" = event_pb2.REASON_UNSPECIFIED,
    limit: int = 1000,
) -> Summaries:
    request = rejection_pb2.ListRejectionsRequest(
        flow_id=flow_id, reason=reason, limit=limit
    )
    answer = await stub_of(hookline).ListRejections(request, metadata=hookline.metadata)
    return answer.rejections


async def kept(hookline: Instance, request_id: str) -> rejection_pb2.Rejection:
    """What is kept of a request, once it is there."""

    async def there() -> bool:
        return any(one.request_id == request_id for one in await listed(hookline))

    await until_asked(there)
    [found] = [one for one in await listed(hookline) if one.request_id == request_id]
    return (await got(hookline, found.rejection_id)).rejection


async def got(
    hookline: Instance, rejection_id: str
) -> rejection_pb2.GetRejectionResponse:
    return await stub_of(hookline).GetRejection(
        rejection_pb2.GetRejectionRequest(rejection_id=rejection_id),
        metadata=hookline.metadata,
    )


async def accept(
    hookline: Instance, rejection_id: str
) -> rejection_pb2.AcceptRejectionResponse:
    return await stub_of(hookline).AcceptRejection(
        rejection_pb2.AcceptRejectionRequest(rejection_id=rejection_id),
        metadata=hookline.metadata,
    )


async def event_of(hookline: Instance, event_id: str) -> event_pb2.Event:
    stub = execution_pb2_grpc.ExecutionServiceStub(hookline.channel)
    request = execution_pb2.GetEventRequest(event_id=event_id)
    return (await stub.GetEvent(request, metadata=hookline.metadata)).event


async def refused(
    hookline: Instance, flow_id: str, body: bytes | None = b"{}", **more: object
) -> rejection_pb2.Rejection:
    """Send a request that is refused; gives what is kept of it."""
    answer = await hookline.send(flow_id, body, **more)  # type: ignore[arg-type] # passed on

    assert answer.status >= 400
    return await kept(hookline, answer.headers["x-request-id"])


async def test_a_refusal_is_kept_with_the_cause_that_the_sender_is_not_told(
    hookline: Instance,
) -> None:
    """The head, the cause, and the first KiB of the body."""
    body = b'"%s"' % (b"x" * 5000)
    headers = [JSON, ("X-Api-Key", "wrong-key")]

    rejection = await refused(hookline, "keyed", body, headers=headers, rest="/a?b=c")

    assert rejection.reason == event_pb2.REASON_UNAUTHENTICATED
    assert rejection.cause == "the key in x-api-key is wrong"
    assert rejection.detail == "Send the credential that this flow asks for."
    assert (rejection.flow_id, rejection.flow_version) == ("keyed", 1)
    assert (rejection.body_size, rejection.whole) == (len(body), False)
    request = rejection.request
    assert (request.method, request.path, request.query) == ("POST", "/a", "b=c")
    assert request.remote == "127.0.0.1"
    assert request.body == body[:1024]


CANARY = "canary-93b1"


@pytest.mark.parametrize("flow_id", ["keyed", "kept", "signed"])
@pytest.mark.parametrize(
    "name",
    ["Authorization", "Cookie", "X-API-Key", "x-auth-token", "Proxy-Authorization"],
)
async def test_no_credential_of_a_refused_request_is_kept(
    embedded: Instance, flow_id: str, name: str
) -> None:
    """Which headers came is told; in place of a value its length and a digest."""
    headers = [("Content-Type", "application/json"), (name, CANARY)]

    rejection = await refused(
        embedded, flow_id, headers=headers, rest=f"?api_key={CANARY}&token={CANARY}"
    )

    assert CANARY.encode() not in rejection.SerializeToString()
    values = {one.name.decode(): one.value for one in rejection.request.headers}
    assert values[name].startswith(b"hidden:%d:" % len(CANARY))
    assert values["Content-Type"] == b"application/json"
    assert rejection.request.query.startswith("api_key=hidden:")


async def test_what_a_flow_itself_calls_a_credential_is_not_kept(
    embedded: Instance,
) -> None:
    """Whatever its name, and also of a request that is kept whole."""
    in_header = await refused(embedded, "door-header", headers=[("x-door", CANARY)])
    in_query = await refused(embedded, "door-query", rest=f"?a=b&X%2dDoor={CANARY}")

    for rejection in (in_header, in_query):
        assert rejection.whole
        assert CANARY.encode() not in rejection.SerializeToString()
    assert in_query.request.query.startswith("a=b&X%2dDoor=hidden:")


async def test_of_headers_that_nobody_knows_the_name_alone_is_kept(
    embedded: Instance,
) -> None:
    """But of a flow whose requests may be accepted later, for it may need them."""
    headers = [JSON, ("X-Odd", CANARY)]

    cut = await refused(embedded, "keyed", headers=headers)
    whole = await refused(embedded, "kept", headers=headers)

    assert b"X-Odd" in cut.SerializeToString()
    assert CANARY.encode() not in cut.SerializeToString()
    assert CANARY.encode() in whole.SerializeToString()


async def test_the_timestamp_of_a_stale_signature_is_shown(embedded: Instance) -> None:
    """It is what the owner looks for; the signature is not shown."""
    headers = [JSON, ("x-ts", "1000000000"), ("x-eio-signature", CANARY)]

    rejection = await refused(embedded, "signed", headers=headers)

    values = {one.name: one.value for one in rejection.request.headers}
    assert values[b"x-ts"] == b"1000000000"
    assert values[b"x-eio-signature"].startswith(b"hidden:")


async def test_each_reason_is_kept_and_found_by_it(hookline: Instance) -> None:
    """Newest first, of one flow or of all."""
    key = ("x-api-key", "right-key")
    bodies = {
        event_pb2.REASON_MALFORMED: ("POST", b"{", [JSON, key]),
        event_pb2.REASON_MISSING_CONTENT_TYPE: ("POST", b"{}", [key]),
        event_pb2.REASON_METHOD_NOT_ALLOWED: ("PUT", b"{}", [JSON, key]),
        event_pb2.REASON_UNAUTHENTICATED: ("POST", b"{}", [JSON]),
    }
    made = []
    for reason, (method, body, headers) in bodies.items():
        one = await refused(hookline, "keyed", body, headers=headers, method=method)
        assert one.reason == reason
        made.append(one.id)
    other = await refused(hookline, "kept")

    for reason, rejection_id in zip(bodies, made, strict=True):
        found, *_ = await listed(hookline, "keyed", reason)
        assert found.rejection_id == rejection_id
    everything = [one.rejection_id for one in await listed(hookline)]
    of_flow = [one.rejection_id for one in await listed(hookline, "keyed")]
    assert everything[:5] == [other.id, *reversed(made)]
    assert of_flow[:4] == [*reversed(made)]
    newest = await listed(hookline, "keyed", limit=2)
    assert [one.rejection_id for one in newest] == [*reversed(made)][:2]


async def test_what_names_no_flow_is_not_kept(embedded: Instance) -> None:
    """Nobody could look at it."""
    answer = await embedded.send("nobodys", b"{}")
    await refused(embedded, "keyed")

    assert answer.status == 404
    assert {one.flow_id for one in await listed(embedded)} == {"keyed"}


async def test_a_rejection_is_accepted_as_if_its_credential_had_been_right(
    hookline: Instance,
) -> None:
    """The flow runs once with the original bytes; accepting again names the same event."""
    body = b'{ "n" : 9007199254740993 }\r\n'
    rejection = await refused(
        hookline, "kept", body, headers=[JSON, ("X-Odd", "kept")], rest="?api_key=w"
    )
    assert rejection.whole

    first = await accept(hookline, rejection.id)
    ended = await hookline.ends.wait(first.event_id)
    again = await accept(hookline, rejection.id)
    event = await event_of(hookline, first.event_id)

    assert (first.already, again.already) == (False, True)
    assert again.event_id == first.event_id
    assert ended.status == execution_pb2.STATUS_COMPLETED
    assert ended.result == b'{"n":9007199254740993}'
    assert event.from_rejection == rejection.id
    assert event.request.body == body
    headers = [(one.name, one.value) for one in event.request.headers]
    assert (b"X-Odd", b"kept") in headers
    assert [one.id for one in hookline.ends.order] == [first.event_id]
    [summary] = await listed(hookline, "kept", limit=1)
    assert summary.event_id == first.event_id
    assert (await got(hookline, rejection.id)).event_id == first.event_id


async def test_who_accepts_at_once_gets_one_event(hookline: Instance) -> None:
    """Also when two press the button together."""
    rejection = await refused(hookline, "kept", b"1")

    answers = await asyncio.gather(*(accept(hookline, rejection.id) for _ in range(5)))
    await hookline.ends.wait(answers[0].event_id)
    after = await hookline.send("kept", b"2", rest="?api_key=right-key")
    await hookline.result(after)

    assert len({one.event_id for one in answers}) == 1
    assert sum(not one.already for one in answers) == 1
    assert [one.id for one in hookline.ends.order] == [
        answers[0].event_id,
        after.headers["x-event-id"],
    ]


async def test_an_acceptance_that_broke_off_goes_on_with_the_same_event(
    embedded: Instance,
) -> None:
    """Which event it becomes is written down before the event is."""
    rejection = await refused(embedded, "kept", b"1")
    mark = rejection_pb2.AcceptedRejection(
        rejection_id=rejection.id, event_id="01a20d0b-8fac-753b-a459-6bbb82803389"
    )
    record = rejection_pb2.RejectionRecord(accepting=mark)
    await embedded.hosted.log.append(
        embedded.hosted.topics.rejections, b"kept", record.SerializeToString()
    )
    assert not (await got(embedded, rejection.id)).event_id

    answer = await accept(embedded, rejection.id)
    await embedded.ends.wait(answer.event_id)

    assert (answer.event_id, answer.already) == (mark.event_id, False)


async def test_what_was_not_kept_whole_is_not_accepted(embedded: Instance) -> None:
    """With what to set, so that the next one can be."""
    cut = await refused(embedded, "keyed")
    large = b'"%s"' % (b"x" * 300_000)
    unread = await refused(embedded, "wide", large, rest="?api_key=wrong")
    too_large = await refused(embedded, "wide", large + b"x", rest="?api_key=right-key")

    with pytest.raises(grpc.aio.AioRpcError, match="keep_rejected: true") as refusal:
        await accept(embedded, cut.id)
    assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    for rejection in (unread, too_large):
        with pytest.raises(grpc.aio.AioRpcError, match="up to 256 KiB") as refusal:
            await accept(embedded, rejection.id)
        assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (unread.body_size, len(unread.request.body)) == (len(large), 0)
    assert (too_large.body_size, len(too_large.request.body)) == (len(large) + 1, 1024)


async def test_a_body_that_nobody_has_read_is_not_taken_for_an_empty_one(
    embedded: Instance,
) -> None:
    """Where its size was not declared either."""
    head = request_bytes(
        "POST", "/hook/kept", [JSON, ("Transfer-Encoding", "chunked")], None
    )

    answer = await call_raw(embedded.hosted.http, head)
    rejection = await kept(embedded, answer.headers["x-request-id"])

    assert answer.status == 401
    assert not rejection.whole


class Wrong(NamedTuple):
    """What is wrong with a request, and what is said of it."""

    method: str
    body: bytes
    headers: list[tuple[str, str]]
    code: grpc.StatusCode
    sentence: str


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong("POST", b"{", [JSON], grpc.StatusCode.INVALID_ARGUMENT, "JSON"),
        Wrong("POST", b"{}", [], grpc.StatusCode.INVALID_ARGUMENT, "Content-Type"),
        Wrong("PUT", b"{}", [JSON], grpc.StatusCode.FAILED_PRECONDITION, "methods"),
        Wrong("POST", b"9" * 3000, [JSON], grpc.StatusCode.OUT_OF_RANGE, "max_body"),
    ],
)
async def test_what_is_wrong_besides_the_credential_stays_refused(
    embedded: Instance, wrong: Wrong
) -> None:
    """And nothing runs."""
    rejection = await refused(
        embedded, "kept", wrong.body, headers=wrong.headers, method=wrong.method
    )

    with pytest.raises(grpc.aio.AioRpcError, match=wrong.sentence) as refusal:
        await accept(embedded, rejection.id)

    assert refusal.value.code() == wrong.code
    after = await embedded.send("kept", b"1", rest="?api_key=right-key")
    await embedded.result(after)
    assert len(embedded.ends.order) == 1


async def test_a_mended_flow_takes_what_it_had_refused(embedded: Instance) -> None:
    """The flow as it is now judges, not as it was."""
    rejection = await refused(embedded, "kept", b"9" * 3000)
    await embedded.apply(KEPT.replace("2KB", "4KB"))

    answer = await accept(embedded, rejection.id)
    await embedded.ends.wait(answer.event_id)

    assert (await event_of(embedded, answer.event_id)).flow_version == 2


@pytest.mark.parametrize(
    "rejection_id", ["", "x", "01a20d0b-8fac-753b-a459-6bbb82803389"]
)
async def test_a_rejection_that_is_not_there_is_not_found(
    embedded: Instance, rejection_id: str
) -> None:
    """Neither to be seen nor to be accepted."""
    for ask in (got, accept):
        with pytest.raises(grpc.aio.AioRpcError, match="rejections list") as refusal:
            await ask(embedded, rejection_id)
        assert refusal.value.code() == grpc.StatusCode.NOT_FOUND


async def test_without_a_token_nothing_is_told(embedded: Instance) -> None:
    """Nor accepted."""
    rejection = await refused(embedded, "kept")
    request = rejection_pb2.AcceptRejectionRequest(rejection_id=rejection.id)
    stub = stub_of(embedded)

    for call in (
        stub.ListRejections(rejection_pb2.ListRejectionsRequest()),
        stub.AcceptRejection(request, metadata=[("authorization", "Bearer wrong")]),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call
        assert refusal.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def hammered(hookline: Instance, flow_id: str, count: int) -> None:
    """Send so many requests without a credential on one connection."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(count):
        writer.write(request_bytes("POST", f"/hook/{flow_id}", [JSON], b"{}"))
        assert (await read_answer(reader)).status == 401
    writer.close()


async def test_a_flood_is_counted_and_little_of_it_kept(hookline: Instance) -> None:
    """Five a second of one flow for one reason; each of the others is in a count."""
    before = sum(1 + one.left_out for one in await listed(hookline, "keyed"))
    kept_before = len(await listed(hookline, "keyed"))
    clock = asyncio.get_running_loop().time
    begun = clock()
    await asyncio.gather(*(hammered(hookline, "keyed", 250) for _ in range(20)))
    seconds = int(clock() - begun) + 2

    async def all_told() -> bool:
        found = await listed(hookline, "keyed")
        return sum(1 + one.left_out for one in found) == before + 5000

    await until_asked(all_told)
    assert len(await listed(hookline, "keyed")) - kept_before <= 5 * seconds


async def test_a_flood_hides_no_refusal_for_another_reason(embedded: Instance) -> None:
    """Nor does it count as one."""
    await hammered(embedded, "keyed", 100)
    wrong_method = await refused(embedded, "keyed", method="PUT")

    [found] = await listed(embedded, "keyed", event_pb2.REASON_METHOD_NOT_ALLOWED)
    assert (found.rejection_id, found.left_out) == (wrong_method.id, 0)
