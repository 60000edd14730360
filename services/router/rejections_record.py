"""A refused request as it is kept: its head without credentials, its body cut or whole.

Whoever sent a credential has shown it to us, and not to those who read rejections. Of an
ordinary rejection only headers that are known to hold none keep their value. A flow with
`keep_rejected` needs all of its requests' headers later, as the events it accepts have
them; there, those that are credentials lose theirs.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import Final, Self
from urllib.parse import unquote

from hookline.errors import Error, Unauthenticated
from hookline.event import new_event_id
from hookline.flow import ApiKeyAuth, Auth, HmacAuth
from hookline.outcomes import reason_of
from hookline.v1 import event_pb2, rejection_pb2
from services.router.registry import ServedFlow

MOST_BODY_BYTES: Final = 1024
MOST_WHOLE_BYTES: Final = 256 * 1024
MOST_CAUSE_CHARACTERS: Final = 500
# Another one in each process: a digest tells repeats apart and is no way to guess.
DIGEST_KEY: Final = token_bytes(32)
HARMLESS: Final = re.compile(
    rb"accept|accept-(charset|encoding|language)|cache-control|ce-[a-z0-9]+|connection|"
    rb"content-(encoding|language|length|type)|date|expect|forwarded|host|"
    rb"traceparent|transfer-encoding|user-agent|via|webhook-(id|timestamp)|"
    rb"x-forwarded-(for|host|proto)|x-real-ip|x-request-id|"
    rb"x-(github|gitlab)-(event|delivery)|x-shopify-(topic|event-id)"
)
CREDENTIAL: Final = re.compile(
    rb"authori[sz]ation|cookie|credential|passw|secret|token|api[-_]?key|session|jwt|"
    rb"^(key|sig|signature|auth)$"
)
LENGTH: Final = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Own:
    """The headers and parameters of a flow's credentials, in lower case.

    `hidden` ones are never shown; `open` ones are, for they say why a signature is stale.
    """

    hidden: frozenset[bytes]
    open: frozenset[bytes]
    parameters: frozenset[str]

    @classmethod
    def of(cls, auth: Iterable[Auth]) -> Self:
        """What a trigger's credentials name."""
        secret, shown, parameters = set(), set(), set()
        for one in auth:
            match one:
                case ApiKeyAuth(in_="query"):
                    parameters.add(one.parameter.lower())
                case ApiKeyAuth():
                    secret.add(one.header.lower().encode())
                case HmacAuth():
                    named = (one.timestamp_header, one.id_header)
                    shown |= {name.lower().encode() for name in named if name}
                case _:
                    pass
        return cls(frozenset(secret), frozenset(shown), frozenset(parameters))


def record_of(
    request: event_pb2.Request, error: Error, served: ServedFlow
) -> rejection_pb2.RejectionRecord:
    """What is kept of a refusal; the request stays as it is."""
    webhook = served.flow.webhook
    size = _body_size(request)
    keeps = webhook.keep_rejected
    whole = keeps and _is_whole(request, size)
    cause = error.cause if isinstance(error, Unauthenticated) else str(error)
    rejection = rejection_pb2.Rejection(
        id=new_event_id(),
        flow_id=request.flow_id,
        flow_version=served.version,
        rejected_at_us=time.time_ns() // 1000,
        reason=reason_of(error),
        cause=_line(cause[:MOST_CAUSE_CHARACTERS]),
        detail=str(error),
        request=_without_credentials(request, Own.of(webhook.auth), whole=whole),
        body_size=size,
        whole=whole,
    )
    return rejection_pb2.RejectionRecord(kept=rejection)


def left_out_record(
    flow_id: str, reason: "event_pb2.Reason.ValueType", count: int
) -> rejection_pb2.RejectionRecord:
    """What is kept of refusals that were counted only, until now."""
    return rejection_pb2.RejectionRecord(
        left_out=rejection_pb2.LeftOut(
            flow_id=flow_id,
            reason=reason,
            count=count,
            until_us=time.time_ns() // 1000,
        )
    )


def _is_whole(request: event_pb2.Request, size: int) -> bool:
    """Whether the body is here as it was sent.

    `stored_body` tells that it was refused on its way here, or is elsewhere.
    """
    if request.HasField("stored_body") or len(request.body) != size:
        return False
    return size <= MOST_WHOLE_BYTES and (bool(size) or not _is_chunked(request))


def _body_size(request: event_pb2.Request) -> int:
    """How many bytes were read; else what was declared, of a body that was not read.

    Of a body that was refused on its way here, by us or as it broke off, `stored_body`
    has how many bytes had come by then, and `body` how it begins.
    """
    if request.HasField("stored_body"):
        return request.stored_body.size
    if request.body:
        return len(request.body)
    for header in request.headers:
        name = header.name.lower()
        if name == b"content-length" and LENGTH.fullmatch(header.value):
            return int(header.value)
    return 0


def _line(text: str) -> str:
    """A cause may quote the sender: nothing of it reaches a terminal but text."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def _is_chunked(request: event_pb2.Request) -> bool:
    return any(one.name.lower() == b"transfer-encoding" for one in request.headers)


def _without_credentials(
    request: event_pb2.Request, own: Own, *, whole: bool
) -> event_pb2.Request:
    body = request.body if whole else request.body[:MOST_BODY_BYTES]
    return event_pb2.Request(
        request_id=request.request_id,
        method=request.method,
        path=request.path,
        query=_query(request.query, own),
        headers=[
            event_pb2.Header(
                name=header.name,
                value=header.value
                if _is_shown(header.name.lower(), own, whole=whole)
                else hidden(header.value),
            )
            for header in request.headers
        ],
        body=body,
        remote=request.remote,
        received_at_us=request.received_at_us,
        flow_id=request.flow_id,
    )


def _is_shown(name: bytes, own: Own, *, whole: bool) -> bool:
    if name in own.hidden:
        return False
    if whole:
        return CREDENTIAL.search(name) is None
    return name in own.open or HARMLESS.fullmatch(name) is not None


def _query(query: str, own: Own) -> str:
    return "&".join(_parameter(pair, own) for pair in query.split("&"))


def _parameter(pair: str, own: Own) -> str:
    name, equals, value = pair.partition("=")
    plain = unquote(name).lower()
    if plain in own.parameters or CREDENTIAL.search(plain.encode()):
        return name + equals + (hidden(value.encode()).decode() if value else "")
    return pair


def hidden(value: bytes) -> bytes:
    """What stands for a value: its length, and a digest that tells repeats apart."""
    digest = blake2b(value, key=DIGEST_KEY, digest_size=4).hexdigest()
    return f"hidden:{len(value)}:{digest}".encode()
