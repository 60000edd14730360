"""Who a sender is follows from its credential alone, and it can hurt nobody else."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from hookline.v1 import event_pb2, publish_pb2, publish_pb2_grpc
from services.router.appending import Taken
from tests.caller import Answer, Pairs, call_raw, read_answer, request_bytes
from tests.instance import JSON, Instance, running
from tests.routers import routing

SETTINGS = {
    "HOOKLINE_SECRET_ONE": "one's",
    "HOOKLINE_SECRET_TWO": "two's",
    "HOOKLINE_ROUTER__FAILURES": "50",
    "HOOKLINE_ROUTER__FAILURES_PER_S": "0.001",
}
BODY = b'{"a":1}'


def flow(flow_id: str, trigger: str) -> str:
    return f"""
id: {flow_id}
trigger: {{webhook: {{{trigger}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""


FLOWS = [
    flow(
        f"{scheme}-{name}",
        {
            "key": f'auth: {{type: api_key, value: "${{secret:{name}}}"}}',
            "sign": f'auth: {{type: hmac, secret: "${{secret:{name}}}"}}',
            "basic": "auth: {type: basic, username: ada, "
            f'password: "${{secret:{name}}}"}}',
        }[scheme],
    )
    for scheme in ("key", "sign", "basic")
    for name in ("ONE", "TWO")
]


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    flows = [*FLOWS, flow("open", "auth: {type: none}")]
    async with running(tmp_path, *flows, environment=SETTINGS) as instance:
        yield instance


def digest(secret: str = "one's", body: bytes = BODY) -> str:
    return hmac.digest(secret.encode(), body, hashlib.sha256).hex()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"ada:{password}".encode()).decode()


async def signed(hookline: Instance, *signatures: str, body: bytes = BODY) -> Answer:
    headers = [("x-eio-signature", one) for one in signatures]
    return await hookline.send("sign-ONE", body, [JSON, *headers])


@pytest.mark.security("S20")
async def test_every_wrong_signature_is_refused_in_the_same_words(
    hookline: Instance,
) -> None:
    """Another secret, cut short, empty, twice, another encoding, another body."""
    raw = bytes.fromhex(digest())
    answers = [
        await signed(hookline, digest("two's")),
        await signed(hookline, digest()[:-2]),
        await signed(hookline, digest() + "00"),
        await signed(hookline, ""),
        await signed(hookline),
        await signed(hookline, digest(), digest()),
        await signed(hookline, base64.b64encode(raw).decode()),
        await signed(hookline, digest(), body=b'{"a": 1}'),
        await signed(hookline, f"{digest()}, {digest('two')}"),
    ]

    for answer in answers:
        answer.json.pop("requestId")
    assert {answer.status for answer in answers} == {401}
    details = {answer.json["detail"] for answer in answers}
    assert details == {"Send the credential that this flow asks for."}
    assert len({answer.headers["content-length"] for answer in answers}) == 1
    assert (await signed(hookline, digest().upper())).status == 200


@pytest.mark.security("S27")
@pytest.mark.parametrize("scheme", ["key", "sign", "basic"])
async def test_the_credential_of_one_flow_opens_no_other(
    hookline: Instance, scheme: str
) -> None:
    """In either direction, beside its own flow where it does open."""
    for name, secret in (("ONE", "one's"), ("TWO", "two's")):
        credential = {
            "key": ("x-api-key", secret),
            "sign": ("x-eio-signature", digest(secret)),
            "basic": ("Authorization", basic(secret)),
        }[scheme]
        other = "TWO" if name == "ONE" else "ONE"
        own = await hookline.send(f"{scheme}-{name}", BODY, [JSON, credential])
        foreign = await hookline.send(f"{scheme}-{other}", BODY, [JSON, credential])

        assert (own.status, foreign.status) == (200, 401)


@pytest.mark.security("S26")
@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"{basic('wrong')}, {basic(chr(111) + 'ne')}")],
        [("X-Authorization", basic("one's"))],
        [("X-Forwarded-User", "ada"), ("X-Forwarded-Authorization", basic("one's"))],
        [("X-Hookline-Flow", "open"), ("X-Original-URL", "/hook/open")],
        [("Proxy-Authorization", basic("one's"))],
        [("X-HTTP-Method-Override", "OPTIONS")],
    ],
)
async def test_no_other_header_is_a_credential(
    hookline: Instance, headers: Pairs
) -> None:
    """What proxies write is believed by nobody."""
    answer = await hookline.send("basic-ONE", BODY, [JSON, *headers])

    assert answer.status == 401


@pytest.mark.security("S26")
@pytest.mark.parametrize("second", ["one's", "wrong"])
async def test_two_credentials_are_none(hookline: Instance, second: str) -> None:
    """Whoever stands in between may have read the other one."""
    both = [("Authorization", basic("one's")), ("authorization", basic(second))]
    answer = await hookline.send("basic-ONE", BODY, [JSON, *both])

    assert answer.status == 400


@pytest.mark.security("S26")
async def test_an_address_is_not_what_a_header_says(hookline: Instance) -> None:
    """The event's sender is who has connected."""
    spoofed = [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")]
    answer = await hookline.send("open", BODY, [JSON, *spoofed])

    assert (await hookline.event(answer)).request.remote == "127.0.0.1"


@pytest.mark.security("S26")
@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        *((f"/hook/{name}", {404}) for name in ("open%2f", "..%2fopen", "%6fpen")),
        *(
            (f"/hook/{name}", {400, 404})
            for name in ("op\x00en", "open%00", "\N{CYRILLIC SMALL LETTER O}pen")
        ),
        *((f"/hook/{name}", {404}) for name in ("../hook/open", "./open", "open.")),
        ("/hook//open", {404}),
    ],
)
async def test_no_spelling_of_a_flows_id_is_another_name_of_it(
    hookline: Instance, path: str, statuses: set[int]
) -> None:
    """Encoded slashes, dots, NUL and look-alike letters name no flow."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

    answer = await call_raw(hookline.hosted.http, head.encode())

    assert answer.status in statuses


@pytest.mark.security("S26")
async def test_a_value_cannot_bring_headers_along(hookline: Instance) -> None:
    """A line break in a value ends it: what follows is a header of the request, or 400."""
    value = "a\r\nx-api-key: one's"
    answer = await hookline.send(
        "key-ONE", BODY, [JSON, ("X-A", value.replace("\n", ""))]
    )

    assert answer.status == 400


@pytest.mark.security("S32")
@pytest.mark.parametrize(
    "claimed",
    [
        {},
        {"x-forwarded-user": "admin", "x-user": "admin", "x-client-cert": "CN=edge"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong", "x-authorization": "right"},
        {"grpc-authority": "edge", "x-identity": "edge"},
    ],
)
async def test_a_caller_is_who_its_token_says_and_nobody_else(
    hookline: Instance, claimed: dict[str, str]
) -> None:
    """What metadata claims besides is not heard."""
    stub = publish_pb2_grpc.PublishServiceStub(hookline.channel)
    request = publish_pb2.PublishRequest(flow_id="open", body=b"", content_type="")

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Publish(request, metadata=tuple(claimed.items()))

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def send_from(
    hookline: Instance, address: str, flow_id: str, times: int = 1
) -> Sequence[int]:
    """The statuses for requests from an address of this machine, one after another."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), local_addr=(address, 0)
    )
    statuses = []
    for _ in range(times):
        writer.write(request_bytes("POST", f"/hook/{flow_id}", [JSON], BODY))
        statuses.append((await read_answer(reader)).status)
    writer.close()
    return statuses


@pytest.mark.security("S24", "S43")
async def test_guessing_keys_ends_in_429_for_the_guesser_alone(
    hookline: Instance,
) -> None:
    """Fifty guesses, then 429; a sender elsewhere is answered as before."""
    guesser = await send_from(hookline, "127.0.0.2", "key-ONE", 80)
    other = await send_from(hookline, "127.0.0.3", "key-ONE")
    key = ("x-api-key", "one's")

    assert guesser == [401] * 50 + [429] * 30
    assert other == [401]
    assert (await hookline.send("key-ONE", BODY, [JSON, key])).status == 200


@pytest.mark.security("S44")
@pytest.mark.parametrize("setting", ["SOURCE_RATE=5", "SOURCE_BYTES=40"])
async def test_a_source_has_a_quota_of_its_own(tmp_path: Path, setting: str) -> None:
    """Beyond it 429 with Retry-After, for all flows; other sources go on."""
    name, _, value = setting.partition("=")
    settings = {f"HOOKLINE_ROUTER__{name}": value}
    flows = (flow("open", "auth: {type: none}"), flow("more", "auth: {type: none}"))
    async with running(tmp_path, *flows, environment=settings) as hookline:
        busy = await send_from(hookline, "127.0.0.2", "open", 40)
        elsewhere = await send_from(hookline, "127.0.0.2", "more", 1)
        calm = await send_from(hookline, "127.0.0.3", "open", 3)

        assert busy[:5] == [200] * 5
        assert 429 in busy
        assert set(busy) == {200, 429}
        assert elsewhere in ([429], [200])
        assert calm == [200] * 3


@pytest.mark.security("S44")
async def test_a_flow_has_so_many_events_under_way(tmp_path: Path) -> None:
    """While the log is busy two wait, the third is 429 at once; others are not held."""
    busy = flow("busy", "auth: {type: none}, in_flight: 2")
    async with routing(tmp_path, busy, flow("open", "auth: {type: none}")) as router:
        router.log.hold("busy")
        take = router.receiver.take
        waiting = [take(request("busy")), take(request("busy"))]
        third = await router.receiver.receive(request("busy"))
        other = await router.receiver.receive(request("open"))

        assert all(isinstance(one, Taken) for one in waiting)
        assert third.rejected.reason == event_pb2.REASON_TOO_MANY_REQUESTS
        assert {h.name for h in third.rejected.headers} == {b"Retry-After"}
        assert other.HasField("accepted")
        router.log.release()
        for one in waiting:
            assert isinstance(one, Taken)
            await one.position
        assert (await router.receiver.receive(request("busy"))).HasField("accepted")


def request(flow_id: str) -> event_pb2.Request:
    return event_pb2.Request(request_id="1", flow_id=flow_id, method="POST")
