"""Credentials over real HTTP: right, wrong, missing, rotated, for each kind of body."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from tests.caller import Answer
from tests.instance import Instance
from tests.instance_on_kafka import Opening

NOW = "two"  # the secret in use
BEFORE = "one"  # the secret before it, still taken
WRONG = "three"
SECRETS = {"HOOKLINE_SECRET_NOW": NOW, "HOOKLINE_SECRET_BEFORE": BEFORE}
BOTH = '["${secret:NOW}", "${secret:BEFORE}"]'

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A credential in a flow file, and how a sender makes it."""

    auth: str
    credential: Callable[[str, bytes], Pair]


def basic(secret: str, _signed: bytes) -> Pair:
    pair = base64.b64encode(f"ada:{secret}".encode()).decode()
    return "Authorization", f"Basic {pair}"


def api_key(secret: str, _signed: bytes) -> Pair:
    return "x-api-key", secret


def signature(secret: str, signed: bytes) -> Pair:
    digest = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return "x-eio-signature", digest.hex()


def prefixed_signature(secret: str, signed: bytes) -> Pair:
    digest = hmac.digest(secret.encode(), signed, hashlib.sha512)
    return "X-Sign", "v1=" + base64.b64encode(digest).decode()


SCHEMES = {
    "none": Scheme("{type: none}", lambda _secret, _signed: ("x-nothing", "")),
    "basic": Scheme(f"{{type: basic, username: ada, password: {BOTH}}}", basic),
    "api-key": Scheme(f"{{type: api_key, value: {BOTH}}}", api_key),
    "hmac": Scheme(f"{{type: hmac, secret: {BOTH}}}", signature),
    "hmac-512": Scheme(
        f"{{type: hmac, secret: {BOTH}, algorithm: sha512, encoding: base64, "
        "header: x-sign, prefix: v1=}",
        prefixed_signature,
    ),
}
GUARDED = [name for name in SCHEMES if name != "none"]

BODIES: dict[str, tuple[str, bytes]] = {
    "JSON": ("application/json", b'{"a": 1}'),
    "XML": ("application/xml", b"<a>1</a>"),
    "properties": ("application/x-www-form-urlencoded", b"a=1&b=2"),
    "text": ("text/plain", "Grüße".encode()),
    "binary": ("application/octet-stream", bytes(range(256))),
    "large": ("application/json", json.dumps("x" * 300_000).encode()),
    "empty": ("application/octet-stream", b""),
}


def flow(name: str) -> str:
    return f"""
id: {name}
trigger: {{webhook: {{methods: [GET, POST], auth: {SCHEMES[name].auth}}}}}
steps: [{{id: keep, use: transform, with: {{body: "=$type(body)"}}}}]
"""


@pytest.fixture
async def hookline(open_instance: Opening) -> AsyncIterator[Instance]:
    flows = map(flow, SCHEMES)
    async with open_instance(*flows, environment=SECRETS) as instance:
        yield instance


async def send(hookline: Instance, name: str, kind: str, *credential: Pair) -> Answer:
    content_type, body = BODIES[kind]
    headers = [("Content-Type", content_type), *credential]
    return await hookline.send(name, body, headers)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("secret", [NOW, BEFORE], ids=["right", "rotated"])
@pytest.mark.parametrize("name", SCHEMES)
async def test_a_right_credential_lets_a_sender_in(
    hookline: Instance, name: str, secret: str, kind: str
) -> None:
    """With the secret in use, and with the one before it: accepted and executed."""
    credential = SCHEMES[name].credential(secret, BODIES[kind][1])

    answer = await send(hookline, name, kind, credential)

    assert answer.status == 200
    assert await hookline.result(answer)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("name", GUARDED)
async def test_a_wrong_or_missing_credential_keeps_a_sender_out(
    hookline: Instance, name: str, kind: str
) -> None:
    """401 with a problem body, whatever the body; nothing is executed."""
    wrong = await send(
        hookline, name, kind, SCHEMES[name].credential(WRONG, BODIES[kind][1])
    )
    missing = await send(hookline, name, kind)

    for answer in (wrong, missing):
        assert answer.status == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["type"] == "urn:hookline:problem:unauthenticated"
        assert "x-event-id" not in answer.headers
    assert not hookline.ends.order


@pytest.mark.parametrize("name", SCHEMES)
async def test_a_get_is_guarded_as_well(hookline: Instance, name: str) -> None:
    """Over GET an HMAC is over the raw query string."""
    scheme = SCHEMES[name]
    query = "b=2&a=%20x"
    right = scheme.credential(NOW, query.encode())
    wrong = scheme.credential(WRONG, query.encode())

    accepted = await hookline.send(name, None, [right], method="GET", rest=f"?{query}")
    refused = await hookline.send(name, None, [wrong], method="GET", rest=f"?{query}")

    assert accepted.status == 200
    assert refused.status == (200 if name == "none" else 401)


@pytest.mark.parametrize("name", ["hmac", "hmac-512"])
async def test_a_get_is_never_let_in_by_a_signature_over_nothing(
    hookline: Instance, name: str
) -> None:
    """The digest of an empty body opens no door."""
    nothing = SCHEMES[name].credential(NOW, b"")

    with_query = await hookline.send(name, None, [nothing], method="GET", rest="?a=1")
    without = await hookline.send(name, None, [nothing], method="GET")

    assert (with_query.status, without.status) == (401, 401)


async def test_a_changed_body_is_refused(hookline: Instance) -> None:
    """One byte more, and the signature is another."""
    credential = signature(NOW, b'{"a": 1}')

    answer = await hookline.send(
        "hmac", b'{"a": 1}\n', [("Content-Type", "application/json"), credential]
    )

    assert answer.status == 401


async def test_basic_is_asked_for_by_its_challenge(hookline: Instance) -> None:
    """RFC 7617: WWW-Authenticate names the scheme."""
    answer = await hookline.send("basic", b"{}")

    assert answer.headers["www-authenticate"].startswith("Basic realm=")
