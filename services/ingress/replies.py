"""The one table from verdicts to HTTP answers; problem bodies as in RFC 9457."""

from collections.abc import Iterable

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from hookline.v1 import event_pb2

PROBLEMS: dict[int, tuple[int, str, str]] = {
    event_pb2.REASON_UNSPECIFIED: (503, "unavailable", "Service unavailable"),
    event_pb2.REASON_UNKNOWN_FLOW: (404, "unknown-flow", "No such flow"),
    event_pb2.REASON_METHOD_NOT_ALLOWED: (
        405,
        "method-not-allowed",
        "Method not allowed",
    ),
    event_pb2.REASON_UNAUTHENTICATED: (401, "unauthenticated", "Not authenticated"),
    event_pb2.REASON_MALFORMED: (400, "malformed", "Malformed request"),
    event_pb2.REASON_MISSING_CONTENT_TYPE: (
        415,
        "missing-content-type",
        "Content type missing",
    ),
    event_pb2.REASON_TOO_LARGE: (413, "too-large", "Body too large"),
    event_pb2.REASON_UNAVAILABLE: (503, "unavailable", "Service unavailable"),
    event_pb2.REASON_TOO_SLOW: (408, "too-slow", "Request timed out"),
    event_pb2.REASON_HEAD_TOO_LARGE: (431, "head-too-large", "Headers too large"),
    event_pb2.REASON_UNSUPPORTED_CODING: (
        415,
        "unsupported-coding",
        "Content coding not supported",
    ),
    event_pb2.REASON_TOO_MANY_REQUESTS: (429, "too-many-requests", "Too many requests"),
}


def answer(outcome: event_pb2.Outcome) -> web.Response:
    """The HTTP answer for a verdict."""
    if outcome.HasField("rejected"):
        return _problem_answer(outcome)
    accepted = outcome.accepted
    headers = CIMultiDict({"x-request-id": outcome.request_id})
    if accepted.event_id:
        headers["x-event-id"] = accepted.event_id
    if accepted.headers:
        _add(headers, accepted.headers)
    if accepted.HasField("reply"):
        return _configured(accepted.reply, headers)
    headers["Content-Type"] = "application/json"
    body = b'{"requestId":"%b","message":"thank you"}' % outcome.request_id.encode()
    return web.Response(body=body, headers=headers)


def problem(
    reason: int, detail: str, request_id: str, headers: CIMultiDict[str] | None = None
) -> web.Response:
    """A refusal: the problem body, and the connection kept for the next request."""
    status, slug, title = PROBLEMS[reason]
    body = {
        "type": f"urn:hookline:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "error": detail,
        "requestId": request_id,
    }
    headers = headers if headers is not None else CIMultiDict()
    headers["Content-Type"] = "application/problem+json"
    headers["x-request-id"] = request_id
    return web.Response(status=status, body=msgspec.json.encode(body), headers=headers)


def _problem_answer(outcome: event_pb2.Outcome) -> web.Response:
    rejected = outcome.rejected
    headers = CIMultiDict(
        (header.name.decode(), header.value.decode()) for header in rejected.headers
    )
    if rejected.HasField("reply"):
        headers["x-request-id"] = outcome.request_id
        return _configured(rejected.reply, headers)
    return problem(rejected.reason, rejected.detail, outcome.request_id, headers)


def _configured(reply: event_pb2.Reply, headers: CIMultiDict[str]) -> web.Response:
    _add(headers, reply.headers)
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _add(headers: CIMultiDict[str], more: Iterable[event_pb2.Header]) -> None:
    for header in more:
        headers.add(header.name.decode(), header.value.decode())
