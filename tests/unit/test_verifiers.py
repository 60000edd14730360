"""Credentials: every parameter, and every way to get them wrong."""

import base64
import hmac
from typing import Any

import pytest
from pydantic import TypeAdapter

from hookline.errors import MissingSecret, Unauthenticated
from hookline.flow import Auth
from hookline.secrets import Secrets
from hookline.v1 import event_pb2
from services.router.verifiers import Verifier, build_verifier

NOW = 1_800_000_000
SECRETS = Secrets({"HOOKLINE_SECRET_A": "a-secret", "HOOKLINE_SECRET_B": "b:sécret"})
A, B = "${secret:A}", "${secret:B}"
ADAPTER: TypeAdapter[Any] = TypeAdapter(Auth)


def verifier(*auths: dict[str, Any], url: str = "https://hooks.example") -> Verifier:
    parsed = [ADAPTER.validate_python(auth) for auth in auths]
    return build_verifier(parsed, SECRETS.get, url, lambda: NOW)


def request(*headers: tuple[str, str], **fields: Any) -> event_pb2.Request:
    defaults: dict[str, Any] = {"method": "POST", "flow_id": "f", "body": b"body"}
    pairs = [
        event_pb2.Header(name=n.encode(), value=v.encode("latin-1")) for n, v in headers
    ]
    return event_pb2.Request(headers=pairs, **(defaults | fields))


def admits(verifier: Verifier, sent: event_pb2.Request) -> bool:
    try:
        verifier.verify(sent)
    except Unauthenticated:
        return False
    verifier.verify_head(sent)  # what passes as a whole passes by its head
    return True


def digest(signed: bytes, algorithm: str = "sha256", secret: str = "a-secret") -> bytes:
    return hmac.digest(secret.encode(), signed, algorithm)


def basic(text: str, encoding: str = "utf-8") -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(text.encode(encoding)).decode()


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ([basic("ada:a-secret")], True),
        ([basic("ada:b:sécret")], True),
        ([("authorization", basic("ada:a-secret")[1].replace("Basic", "bAsIc"))], True),
        ([basic("ada:b:sécret", "latin-1")], False),
        ([basic("ada:a-secre")], False),
        ([basic("ada:a-secret ")], False),
        ([basic("bob:a-secret")], False),
        ([basic("ada")], False),
        ([("Authorization", "Basic !!!")], False),
        ([("Authorization", "Bearer a-secret")], False),
        ([basic("ada:a-secret")] * 2, False),
        ([], False),
    ],
)
def test_basic(headers: list[tuple[str, str]], admitted: bool) -> None:
    door = verifier({"type": "basic", "username": "ada", "password": [A, B]})

    assert admits(door, request(*headers)) is admitted


@pytest.mark.parametrize(
    ("headers", "query", "admitted"),
    [
        ([("X-API-Key", "a-secret")], "", True),
        ([("x-api-key", "A-SECRET")], "", False),
        ([("x-api-key", "")], "", False),
        ([("x-api-key", "a-secret"), ("x-api-key", "no")], "", False),
        ([], "api_key=a-secret", False),
    ],
)
def test_api_key_in_a_header(
    headers: list[tuple[str, str]], query: str, admitted: bool
) -> None:
    door = verifier({"type": "api_key", "value": A})

    assert admits(door, request(*headers, query=query)) is admitted


@pytest.mark.parametrize(
    ("query", "admitted"),
    [
        ("key=a-secret", True),
        ("x=1&key=b%3As%C3%A9cret", True),
        ("key=a-secret&key=a-secret", False),
        ("Key=a-secret", False),
        ("key", False),
        ("", False),
    ],
)
def test_api_key_in_the_query(query: str, admitted: bool) -> None:
    door = verifier(
        {"type": "api_key", "in": "query", "parameter": "key", "value": [A, B]}
    )

    assert admits(door, request(query=query)) is admitted


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
@pytest.mark.parametrize("encoding", ["hex", "HEX", "base64", "unpadded", "base64url"])
@pytest.mark.parametrize("body", [b"body", b"", bytes(range(256)), b"x" * 100_000])
def test_hmac_in_every_algorithm_and_encoding(
    algorithm: str, encoding: str, body: bytes
) -> None:
    raw = digest(body, algorithm)
    written = {
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "base64": base64.b64encode(raw).decode(),
        "unpadded": base64.b64encode(raw).decode().rstrip("="),
        "base64url": base64.urlsafe_b64encode(raw).decode(),
    }[encoding]
    kind = {"HEX": "hex", "unpadded": "base64"}.get(encoding, encoding)
    auth = {"type": "hmac", "secret": A, "algorithm": algorithm, "encoding": kind}
    door = verifier({**auth, "header": "X-Sig", "prefix": "v1="})

    assert admits(door, request(("x-sig", f"v1={written}"), body=body))
    assert not admits(door, request(("x-sig", written), body=body))
    assert not admits(door, request(("x-sig", f"v1={written}"), body=body + b"\n"))
    assert not admits(door, request(("x-sig", f"v1={written[:-4]}"), body=body))


def test_hmac_as_rfc_4231_computes_it() -> None:
    """Its second case: key `Jefe`."""
    auth = ADAPTER.validate_python({"type": "hmac", "secret": "${secret:J}"})
    secrets = Secrets({"HOOKLINE_SECRET_J": "Jefe"})
    door = build_verifier([auth], secrets.get, "", lambda: NOW)
    signature = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    sent = request(("x-eio-signature", signature), body=b"what do ya want for nothing?")

    assert admits(door, sent)


@pytest.mark.parametrize(
    ("template", "signed"),
    [
        ("{ts}.{body}", b"1800000000.body"),
        ("v0:{ts}:{body}", b"v0:1800000000:body"),
        ("{id}.{ts}.{body}", b"id-1.1800000000.body"),
        ("{method}{url}{body}", b"POSThttps://hooks.example/hook/f/x%2F?q=1body"),
        ("{path}|{query}", b"/x%2F|q=1"),
    ],
)
def test_hmac_over_a_template(template: str, signed: bytes) -> None:
    named = {"timestamp_header": "X-Ts"} if "{ts}" in template else {}
    if "{id}" in template:
        named["id_header"] = "X-Id"
    door = verifier({"type": "hmac", "secret": A, "template": template, **named})
    headers = [("x-ts", str(NOW)), ("x-id", "id-1")]
    signature = ("x-eio-signature", digest(signed).hex())

    assert admits(door, request(*headers, signature, path="/x%2F", query="q=1"))
    changed = {"path": "/y", "query": "q=2", "body": b"other"}
    assert not admits(door, request(*headers, signature, **changed))


def test_hmac_over_a_sorted_form() -> None:
    """Names and values run together, sorted, after the URL: Twilio's way."""
    door = verifier({"type": "hmac", "secret": A, "template": "{url}{sorted_form}"})
    signature = digest(b"https://hooks.example/hook/fa1b2").hex()

    assert admits(door, request(("x-eio-signature", signature), body=b"b=2&a=1"))


@pytest.mark.parametrize(
    ("ts", "admitted"),
    [
        (str(NOW), True),
        (str(NOW - 300), True),
        (str(NOW + 300), True),
        (str(NOW - 301), False),
        (str(NOW + 301), False),
        (f"{NOW}.0", False),
        ("-1", False),
        ("9" * 30, False),
        (None, False),
    ],
)
def test_a_signature_is_good_for_its_tolerance(ts: str | None, admitted: bool) -> None:
    door = verifier(
        {
            "type": "hmac",
            "secret": A,
            "template": "{ts}.{body}",
            "timestamp_header": "x-ts",
        }
    )
    headers = [("x-eio-signature", digest(f"{ts}.body".encode()).hex())]
    headers += [("x-ts", ts)] if ts is not None else []

    assert admits(door, request(*headers)) is admitted


def test_two_signatures_are_none() -> None:
    door = verifier({"type": "hmac", "secret": A})
    good = ("x-eio-signature", digest(b"body").hex())

    assert not admits(door, request(good, good))


def test_a_get_is_signed_by_its_query_and_never_by_nothing() -> None:
    door = verifier({"type": "hmac", "secret": A})
    over_query = ("x-eio-signature", digest(b"a=1").hex())
    over_nothing = ("x-eio-signature", digest(b"").hex())

    assert admits(door, request(over_query, method="GET", query="a=1", body=b""))
    for query in ("", "a=1"):
        sent = request(over_nothing, method="GET", query=query, body=b"")
        assert not admits(door, sent)


def test_any_one_of_several_credentials_lets_a_sender_in() -> None:
    door = verifier(
        {"type": "api_key", "value": A},
        {"type": "hmac", "secret": B},
        {"type": "basic", "username": "ada", "password": A},
    )

    assert admits(door, request(("x-api-key", "a-secret")))
    assert admits(
        door, request(("x-eio-signature", digest(b"body", secret="b:sécret").hex()))
    )
    with pytest.raises(Unauthenticated) as refused:
        door.verify(request())
    assert refused.value.challenges == (
        'ApiKey name="x-api-key"',
        'Basic realm="hookline", charset="UTF-8"',
    )


def test_the_head_alone_refuses_what_no_body_could_mend() -> None:
    door = verifier({"type": "hmac", "secret": A})

    with pytest.raises(Unauthenticated):
        door.verify_head(request(body=b""))
    with pytest.raises(Unauthenticated):
        door.verify_head(request(("x-eio-signature", "not hex"), body=b""))
    door.verify_head(request(("x-eio-signature", digest(b"other").hex()), body=b""))


def test_a_cause_tells_the_owner_and_holds_no_secret() -> None:
    door = verifier({"type": "hmac", "secret": A})
    sent = request(("x-eio-signature", "00" * 32))

    with pytest.raises(Unauthenticated) as refused:
        door.verify(sent)

    assert "x-eio-signature" in refused.value.cause
    assert digest(b"body").hex() not in refused.value.cause
    assert "a-secret" not in refused.value.cause
    assert refused.value.cause not in str(refused.value)


def test_a_missing_secret_is_named_when_the_door_is_built() -> None:
    with pytest.raises(MissingSecret, match="HOOKLINE_SECRET_NOWHERE"):
        verifier({"type": "hmac", "secret": "${secret:NOWHERE}"})
