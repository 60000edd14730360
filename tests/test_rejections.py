"""Refused requests: kept for the flow's owner, without credentials, within bounds."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from hookline.v1 import event_pb2, rejection_pb2
from tests.caller import call_raw, request_bytes
from tests.instance import JSON, Instance, running
from tests.instance_on_kafka import Opening
from tests.rejected import (
    FLOWS,
    SECRETS,
    accept,
    got,
    hammered,
    kept,
    listed,
    refused,
    stub_of,
)
from tests.waiting import until_asked


@pytest.fixture
async def hookline(open_instance: Opening) -> AsyncIterator[Instance]:
    async with open_instance(*FLOWS, environment=SECRETS) as instance:
        yield instance


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, *FLOWS, environment=SECRETS) as instance:
        yield instance


async def test_a_refusal_is_kept_with_the_cause_that_the_sender_is_not_told(
    hookline: Instance,
) -> None:
    """The head, the cause, and the first KiB of the body."""
    body = b'"%s"' % (b"x" * 5000)
    headers = [JSON, ("X-Api-Key", "wrong-key")]

    rejection = await refused(
        hookline, "keyed", body, headers=headers, rest="/a?type=c"
    )

    assert rejection.reason == event_pb2.REASON_UNAUTHENTICATED
    assert rejection.cause == "the key in x-api-key is wrong"
    assert rejection.detail == "Send the credential that this flow asks for."
    assert (rejection.flow_id, rejection.flow_version) == ("keyed", 1)
    assert (rejection.body_size, rejection.whole) == (len(body), False)
    request = rejection.request
    assert (request.method, request.path, request.query) == ("POST", "/a", "type=c")
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


NAMES = [
    "X-Auth-Key",
    "X-Auth",
    "Ocp-Apim-Subscription-Key",
    "X-Functions-Key",
    "X-Access-Key",
    "X-AccessKey",
    "X-Pass",
    "X-Hmac",
    "X-Webhook-Pw",
    "X-Hub-Signature-256",
    "ce-sastoken",
    "ce-authkey",
]
PARAMETERS = ["auth_key", "authCode", "pwd", "code", "k", "user%5Bpwd%5D", "sig"]


@pytest.mark.parametrize("flow_id", ["keyed", "kept"])
async def test_the_log_holds_nothing_that_is_named_like_a_credential(
    embedded: Instance, tmp_path: Path, flow_id: str
) -> None:
    """Not one byte of it, whether the request is kept whole or not; the rest is there."""
    headers = [JSON, *((name, CANARY) for name in NAMES)]
    headers += [("Forwarded", f"for=192.0.2.7;secret={CANARY};proto=https")]
    query = "&".join(f"{name}={CANARY}" for name in PARAMETERS)

    rejection = await refused(
        embedded, flow_id, headers=headers, rest=f"?type=made&{query}"
    )

    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files)
    assert CANARY.encode() not in written
    assert b"type=made&auth_key=hidden:" in written
    values = {one.name: one.value for one in rejection.request.headers}
    assert values[b"Forwarded"] == b"for=192.0.2.7;proto=https"


async def test_of_an_ordinary_refusal_only_known_parameters_keep_their_value(
    embedded: Instance,
) -> None:
    """Nor does a name that has no value; an attribute of somebody's own neither."""
    headers = [JSON, ("ce-id", "42"), ("ce-mine", CANARY)]

    rejection = await refused(
        embedded, "keyed", headers=headers, rest=f"?page=2&odd={CANARY}&{CANARY}"
    )

    assert CANARY.encode() not in rejection.SerializeToString()
    assert rejection.request.query.startswith("page=2&odd=hidden:")
    assert {one.name: one.value for one in rejection.request.headers}[b"ce-id"] == b"42"


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


async def test_a_flood_is_counted_and_little_of_it_kept(hookline: Instance) -> None:
    """Five a second of one flow for one reason; each of the others is in a count.

    There are two reasons: wrong, and wrong too often.
    """
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
    assert len(await listed(hookline, "keyed")) - kept_before <= 2 * 5 * seconds


async def test_a_flood_hides_no_refusal_for_another_reason(embedded: Instance) -> None:
    """Nor does it count as one."""
    await hammered(embedded, "keyed", 100)
    wrong_method = await refused(embedded, "keyed", method="PUT")

    [found] = await listed(embedded, "keyed", event_pb2.REASON_METHOD_NOT_ALLOWED)
    assert (found.rejection_id, found.left_out) == (wrong_method.id, 0)
