"""What a kept rejection does not show: whatever may be a credential.

Whoever sent a credential has shown it to us, and not to those who read rejections. Of an
ordinary rejection only headers and parameters that are known to hold none keep their
value. A flow with `keep_rejected` needs all of its requests' headers later, as the events
it accepts have them; there, those that are credentials by their name, or that the flow
itself calls so, lose theirs.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from hookline.flow import ApiKeyAuth, Auth, HmacAuth
from hookline.v1 import event_pb2

# Another one in each process: a digest tells repeats apart and is no way to guess.
DIGEST_KEY: Final = token_bytes(32)
HARMLESS: Final = re.compile(
    rb"accept|accept-(charset|encoding|language)|cache-control|"
    rb"ce-(id|source|type|specversion|time|subject|dataschema|datacontenttype)|"
    rb"connection|content-(encoding|language|length|type)|date|expect|forwarded|host|"
    rb"traceparent|transfer-encoding|user-agent|via|webhook-(id|timestamp)|"
    rb"x-forwarded-(for|host|proto)|x-real-ip|x-request-id|"
    rb"x-(github|gitlab)-(event|delivery)|x-shopify-(topic|event-id)"
)
HARMLESS_PARAMETER: Final = re.compile(
    rb"api-version|event|event-type|lang|limit|page|raw|topic|type|v|version"
)
# Words of a name, wherever they stand in it; then those that are words of their own.
CREDENTIAL: Final = re.compile(
    rb"authori[sz]ation|cookie|credential|passw|secret|token|session|jwt|bearer|"
    rb"keys?\d*($|[^a-z0-9])|"
    rb"(^|[^a-z0-9])(auth|sig|sign|signature|hmac|pass|pw|pwd|pin|otp|code)\d*"
    rb"($|[^a-z0-9])|^k$"
)
NO_CREDENTIAL: Final = frozenset({b"idempotency-key"})
HUMP: Final = re.compile(rb"(?<=[a-z0-9])(?=[A-Z])")
FORWARDED: Final = frozenset({b"by", b"for", b"host", b"proto"})


@dataclass(frozen=True, slots=True)
class Own:
    """The headers and parameters of a flow's credentials, in lower case.

    `hidden` ones are never shown; `open` ones are, for they say why a signature is stale.
    """

    hidden: frozenset[bytes]
    open: frozenset[bytes]
    parameters: frozenset[bytes]

    @classmethod
    def of(cls, auth: Iterable[Auth]) -> Self:
        """What a trigger's credentials name."""
        secret, shown, parameters = set(), set(), set()
        for one in auth:
            match one:
                case ApiKeyAuth(in_="query"):
                    parameters.add(one.parameter.lower().encode())
                case ApiKeyAuth():
                    secret.add(one.header.lower().encode())
                case HmacAuth():
                    secret.add(one.header.lower().encode())
                    named = (one.timestamp_header, one.id_header)
                    shown |= {name.lower().encode() for name in named if name}
                case _:
                    pass
        return cls(frozenset(secret), frozenset(shown), frozenset(parameters))


def shown_header(
    header: event_pb2.Header, own: Own, *, whole: bool
) -> event_pb2.Header:
    """A header as it is kept."""
    name = header.name.lower()
    value = header.value
    if not _is_shown(header.name, own, whole=whole):
        value = hidden(value)
    elif name == b"forwarded":
        value = _forwarded(value)
    return event_pb2.Header(name=header.name, value=value)


def shown_query(query: str, own: Own, *, whole: bool) -> str:
    """A query as it is kept."""
    return "&".join(_parameter(pair, own, whole=whole) for pair in query.split("&"))


def hidden(value: bytes) -> bytes:
    """What stands for a value: its length, and a digest that tells repeats apart."""
    digest = blake2b(value, key=DIGEST_KEY, digest_size=4).hexdigest()
    return f"hidden:{len(value)}:{digest}".encode()


def _is_shown(raw_name: bytes, own: Own, *, whole: bool) -> bool:
    name = raw_name.lower()
    if name in own.hidden:
        return False
    if whole:
        return not _is_credential(raw_name)
    return name in own.open or HARMLESS.fullmatch(name) is not None


def _is_credential(raw_name: bytes) -> bool:
    """Whether a name says so: X-Auth-Key, authKey, user[pwd]."""
    name = raw_name.lower()
    words = HUMP.sub(b"-", raw_name).lower()
    named = CREDENTIAL.search(name) or CREDENTIAL.search(words)
    return named is not None and name not in NO_CREDENTIAL


def _parameter(pair: str, own: Own, *, whole: bool) -> str:
    name, equals, value = pair.partition("=")
    plain = unquote_to_bytes(name)
    if plain.lower() in own.parameters or not _may_be_shown(plain, whole=whole):
        if not whole and not equals:
            # A name alone may be the credential.
            return hidden(name.encode()).decode() if name else ""
        return name + equals + (hidden(value.encode()).decode() if value else "")
    return pair


def _may_be_shown(name: bytes, *, whole: bool) -> bool:
    if whole:
        return not _is_credential(name)
    return HARMLESS_PARAMETER.fullmatch(name.lower()) is not None


def _forwarded(value: bytes) -> bytes:
    """RFC 7239 without what it does not know: senders may write what they like there."""
    elements = [
        b";".join(
            pair.strip()
            for pair in element.split(b";")
            if pair.partition(b"=")[0].strip().lower() in FORWARDED
        )
        for element in value.split(b",")
    ]
    return b", ".join(filter(None, elements))
