"""A concealed flow is to whoever has no credential as if it did not exist."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.errors import MethodNotAllowed, Unauthenticated, Unavailable, UnknownFlow
from hookline.flow_answers import OnReject
from hookline.v1 import event_pb2
from services.router.refusals import Concealed, Decoy, Dressed
from tests.caller import Answer, Pairs, call_raw, request_bytes
from tests.instance import JSON, Instance, running

SETTINGS = {
    "HOOKLINE_SECRET_KEY": "k",
    "HOOKLINE_SECRET_SIGN": "s3cret",
    "HOOKLINE_ROUTER__FAILURES": "1000",
}
KEYED = 'auth: {type: api_key, value: "${secret:KEY}"}'
SIGNED = 'auth: {type: hmac, secret: "${secret:SIGN}"}'


def flow(flow_id: str, trigger: str) -> str:
    return f"""
id: {flow_id}
trigger: {{webhook: {{{trigger}, conceal: true}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""


FLOWS = [
    flow("keyed", f"{KEYED}, max_body: 100B"),
    flow("signed", f"{SIGNED}, max_body: 100B"),
    flow("rated", f"{SIGNED}, rate: {{limit: 1, per: hour}}"),
    flow("far", "auth: {type: none}, allow_from: 203.0.113.0/24"),
]
INACTIVE = flow("inactive", 'auth: {type: api_key, value: "${secret:NOWHERE}"}')
LARGE = b'"' + b"1" * 300_000 + b'"'
NOBODYS: list[tuple[str, bytes | None, Pairs]] = [
    ("POST", b"{}", [JSON]),
    ("POST", b"{}", [JSON, ("x-api-key", "wrong")]),
    ("POST", b"{}", [JSON, ("x-eio-signature", "00" * 32)]),
    ("POST", b"1" * 200, [JSON, ("x-eio-signature", "00" * 32)]),
    ("POST", LARGE, [JSON, ("x-api-key", "wrong")]),
    ("POST", b"{}", []),
    ("GET", None, []),
    ("PUT", b"{}", [JSON]),
    ("HEAD", None, []),
    ("OPTIONS", None, [("Origin", "https://a.example")]),
    ("PROPFIND", None, []),
]


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    directory = tmp_path / "flows"
    directory.mkdir()
    (directory / "inactive.yaml").write_text(INACTIVE)
    async with running(
        tmp_path, *FLOWS, environment=SETTINGS, flow_directory=directory
    ) as instance:
        await instance.hosted.directory.apply()
        yield instance


def seen(answer: Answer) -> tuple[object, ...]:
    """All that a sender sees, but for the id of its request and the time."""
    request_id = answer.headers["x-request-id"]
    headers = {n: v for n, v in answer.headers.items() if n != "date"}
    del headers["x-request-id"]
    body = answer.body.replace(request_id.encode(), b"its id")
    return answer.status, headers, body


def right(body: bytes) -> tuple[str, str]:
    return "x-eio-signature", hmac.digest(b"s3cret", body, hashlib.sha256).hex()


@pytest.mark.security("S20", "S24")
@pytest.mark.parametrize("flow_id", ["keyed", "signed", "rated", "far", "inactive"])
async def test_without_its_credential_a_flow_looks_like_none(
    hookline: Instance, flow_id: str
) -> None:
    """Whatever is sent: the same status, headers and body as for an unknown flow."""
    for method, body, headers in NOBODYS:
        concealed = await hookline.send(flow_id, body, headers, method=method)
        unknown = await hookline.send("nobody", body, headers, method=method)

        assert seen(concealed) == seen(unknown), (method, headers)
        assert concealed.status == 404


async def test_with_its_credential_it_is_a_flow_like_others(hookline: Instance) -> None:
    """Accepted where it is right, told what is wrong where it is not."""
    key = ("x-api-key", "k")
    accepted = await hookline.send("keyed", b"{}", [JSON, key])
    broken = await hookline.send("keyed", b"{", [JSON, key])
    untyped = await hookline.send("keyed", b"{}", [key])

    assert [accepted.status, broken.status, untyped.status] == [200, 400, 415]
    assert await hookline.result(accepted) == {}


async def test_only_who_may_send_learns_of_its_rate(
    hookline: Instance, tmp_path: Path
) -> None:
    """Beyond it the right signature is 429, a wrong one 404; no body stays behind."""
    signed = [JSON, right(b"{}")]
    first = await hookline.send("rated", b"{}", signed)
    second = await hookline.send("rated", b"{}", signed)
    wrong = await hookline.send("rated", b"[]", signed)
    wrong_large = await hookline.send("rated", LARGE, signed)
    large = await hookline.send("rated", LARGE, [JSON, right(LARGE)])

    small = [answer.status for answer in (first, second, wrong)]
    assert small == [200, 429, 404]
    assert [wrong_large.status, large.status] == [404, 429]
    store = tmp_path / "data" / "bodies"
    assert [path for path in store.rglob("*") if path.is_file()] == []


async def test_it_does_not_tell_when_wrong_credentials_were_too_many(
    tmp_path: Path,
) -> None:
    """Where another flow says 429, small or large, it says 404 as before."""
    settings = {
        **SETTINGS,
        "HOOKLINE_ROUTER__FAILURES": "2",
        "HOOKLINE_INGRESS__BODY_TIMEOUT_S": "0.2",
    }
    async with running(tmp_path, FLOWS[0], environment=settings) as hookline:
        wrong = [JSON, ("x-api-key", "wrong")]
        small = [await hookline.send("keyed", b"{}", wrong) for _ in range(6)]
        unknown = await hookline.send("nobody", b"{}", wrong)
        length = ("Content-Length", "50")
        head = request_bytes("POST", "/hook/keyed", [*wrong, length], None)
        async with asyncio.timeout(5):
            large = await call_raw(hookline.hosted.http, head)

        assert {str(seen(answer)) for answer in small} == {str(seen(unknown))}
        assert large.status == 404


def test_what_a_refused_sender_sees_does_not_depend_on_the_cause() -> None:
    """One outcome for every cause; the flow's own trouble (503) is told as it is."""
    concealed = Concealed(Decoy())
    asked = event_pb2.Request(request_id="1", flow_id="one", body=b"{}")
    causes = (
        UnknownFlow("none"),
        Unauthenticated("the key is wrong", ("Basic",)),
        MethodNotAllowed("Send POST.", ("POST",)),
    )

    outcomes = {concealed.outcome(asked, cause).SerializeToString() for cause in causes}
    assert len(outcomes) == 1
    away = concealed.outcome(asked, Unavailable("later"))
    assert away.rejected.reason == event_pb2.REASON_UNAVAILABLE


def test_what_is_ours_to_mend_is_never_dressed_up() -> None:
    """A sender that took a 503 for its own mistake would not send again."""
    dressed = Dressed(OnReject(status=404))
    asked = event_pb2.Request(request_id="1", flow_id="one")

    mine = dressed.outcome(asked, Unavailable("later"))
    theirs = dressed.outcome(asked, Unauthenticated("wrong"))
    assert not mine.rejected.HasField("reply")
    assert theirs.rejected.reply.status == 404
