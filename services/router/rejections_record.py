"""A refused request as it is kept: its head without credentials, its body cut or whole."""

import re
import time
from typing import Final

from hookline.errors import Error, Unauthenticated
from hookline.event import new_event_id
from hookline.outcomes import reason_of
from hookline.v1 import event_pb2, rejection_pb2
from services.router.registry import ServedFlow
from services.router.rejections_hidden import Own, shown_header, shown_query

MOST_BODY_BYTES: Final = 1024
MOST_WHOLE_BYTES: Final = 256 * 1024
MOST_CAUSE_CHARACTERS: Final = 500
LENGTH: Final = re.compile(rb"[0-9]{1,18}")


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
        query=shown_query(request.query, own, whole=whole),
        headers=[shown_header(one, own, whole=whole) for one in request.headers],
        body=body,
        remote=request.remote,
        received_at_us=request.received_at_us,
        flow_id=request.flow_id,
    )
