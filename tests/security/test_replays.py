"""Signatures that are sent again: each is as good as its time, and no time is no good."""

import hmac
import time
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from hookline.errors import Unauthenticated
from hookline.flow import Auth
from hookline.secrets import Secrets
from hookline.v1 import event_pb2
from services.router.verifiers import build_verifier
from tests.caller import Answer
from tests.instance import JSON, running

NOW: Final = 1_800_000_000
KEY: Final = b"a-secret"
SECRETS = Secrets({"HOOKLINE_SECRET_KEY": KEY.decode()})
AUTH: dict[str, Any] = {
    "type": "hmac",
    "secret": "${secret:KEY}",
    "header": "webhook-signature",
    "template": "{id}.{ts}.{body}",
    "timestamp_header": "webhook-timestamp",
    "id_header": "webhook-id",
}
FLOW = """
id: guarded
trigger:
  webhook:
    auth:
      type: hmac
      secret: "${secret:KEY}"
      header: webhook-signature
      template: "{id}.{ts}.{body}"
      timestamp_header: webhook-timestamp
      id_header: webhook-id
steps: [{id: keep, use: transform, with: {body: =body}}]
"""


def signature(time_sent: str, body: bytes = b"1") -> str:
    return hmac.new(
        KEY, b"m-1.%b.%b" % (time_sent.encode(), body), "sha256"
    ).hexdigest()


def admits(*headers: tuple[str, str], now: float = NOW) -> bool:
    """Whether a request with these headers and the body `1` gets in at a time."""
    auth = TypeAdapter[Auth](Auth).validate_python(AUTH)
    door = build_verifier([auth], SECRETS.get, now=lambda: now)
    pairs = [event_pb2.Header(name=n.encode(), value=v.encode()) for n, v in headers]
    try:
        door.verify(event_pb2.Request(method="POST", body=b"1", headers=pairs))
    except Unauthenticated:
        return False
    return True


def headers(time_sent: str) -> list[tuple[str, str]]:
    """Of a sender that has the key and signs this time, whatever it is."""
    return [
        ("webhook-id", "m-1"),
        ("webhook-timestamp", time_sent),
        ("webhook-signature", signature(time_sent)),
    ]


@pytest.mark.security("S22")
@pytest.mark.parametrize(
    ("age_s", "admitted"),
    [(0, True), (299, True), (300, True), (301, False), (10**6, False)],
)
@pytest.mark.parametrize("ahead", [False, True], ids=["old", "ahead"])
def test_a_signature_is_good_for_five_minutes(
    age_s: int, admitted: bool, ahead: bool
) -> None:
    """As long before its time as after it."""
    sent = NOW + age_s if ahead else NOW - age_s

    assert admits(*headers(str(sent))) is admitted


@pytest.mark.security("S22")
@pytest.mark.parametrize(
    "written",
    [
        *(
            f"{NOW}.0",
            f"{NOW}.",
            f".{NOW}",
            f"{NOW},5",
            f"+{NOW}",
            f"-{NOW}",
            f"{NOW}e0",
        ),
        *(hex(NOW), "", "now", "0", f"{NOW}000", "9" * 16, "9" * 5_000, f"1_{NOW}"),
        *("2027-01-15T08:00:00Z", "\N{ARABIC-INDIC DIGIT ONE}" + str(NOW)[1:]),
    ],
)
def test_a_time_that_is_no_seconds_since_1970_is_refused(written: str) -> None:
    """Also where it was signed with the right key."""
    assert not admits(*headers(written))


@pytest.mark.security("S22")
def test_a_time_is_needed_once() -> None:
    identity, sent, signed = headers(str(NOW))

    assert not admits(identity, signed)
    assert not admits(identity, sent, sent, signed)
    assert admits(identity, sent, signed)


@pytest.mark.security("S22")
@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp"])
def test_what_was_signed_cannot_be_made_new(changed: str) -> None:
    """A signature that was overheard does not take another time, nor another id."""
    overheard = dict(headers(str(NOW)))
    fresh = {"webhook-id": "m-2", "webhook-timestamp": str(NOW + 600)}
    replayed = {**overheard, changed: fresh[changed]}
    now = int(replayed["webhook-timestamp"])

    assert admits(*overheard.items())
    assert not admits(*replayed.items(), now=now)


@pytest.mark.security("S22")
async def test_a_stale_signature_is_401_and_leaves_nothing(tmp_path: Path) -> None:
    """The answer is that of every wrong credential; only the flow's owner hears why."""
    environment = {"HOOKLINE_SECRET_KEY": KEY.decode()}
    now = int(time.time())
    async with running(tmp_path, FLOW, environment=environment) as hookline:

        async def send(*pairs: tuple[str, str]) -> Answer:
            return await hookline.send("guarded", b"1", [JSON, *pairs])

        stale = await send(*headers(str(now - 400)))
        ahead = await send(*headers(str(now + 400)))
        without = await send(*headers(str(now))[::2])
        wrong = await send(*headers(str(now))[:2], ("webhook-signature", "0" * 64))
        fresh = await send(*headers(str(now)))
        await hookline.result(fresh)

        refused = [stale, ahead, without, wrong]
        assert [answer.status for answer in refused] == [401] * 4
        assert len({answer.json["detail"] for answer in refused}) == 1
        assert len(hookline.ends.order) == 1
