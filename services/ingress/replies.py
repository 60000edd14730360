"""The one table from verdicts to HTTP answers; problem bodies as in RFC 9457."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, istr

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
    event_pb2.REASON_CONFLICT: (422, "conflict", "Idempotency key used before"),
}


CONTENT_TYPE_OPTIONS: Final = istr("X-Content-Type-Options")


class Answer(web.Response):
    """An answer as this server gives it: in its own version of HTTP, whatever came."""

    async def _write_headers(self) -> None:
        headers = self._headers
        if headers[hdrs.SERVER] == SERVER_SOFTWARE:
            del headers[hdrs.SERVER]  # which versions are here is nobody's business
        headers.setdefault(CONTENT_TYPE_OPTIONS, "nosniff")
        if not self._keep_alive:
            headers[hdrs.CONNECTION] = "close"
        writer = self._payload_writer
        if writer is not None:
            status_line = f"HTTP/1.1 {self._status} {self._reason}"
            await writer.write_headers(status_line, headers)


def answer(outcome: event_pb2.Outcome) -> Answer:
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
    return Answer(body=body, headers=headers)


def problem(
    reason: int, detail: str, request_id: str, headers: CIMultiDict[str] | None = None
) -> Answer:
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
    return Answer(status=status, body=msgspec.json.encode(body), headers=headers)


def _problem_answer(outcome: event_pb2.Outcome) -> Answer:
    rejected = outcome.rejected
    headers = CIMultiDict(
        (header.name.decode(), header.value.decode()) for header in rejected.headers
    )
    if rejected.HasField("reply"):
        headers["x-request-id"] = outcome.request_id
        return _configured(rejected.reply, headers)
    return problem(rejected.reason, rejected.detail, outcome.request_id, headers)


def _configured(reply: event_pb2.Reply, headers: CIMultiDict[str]) -> Answer:
    _add(headers, reply.headers)
    return Answer(status=reply.status, body=reply.body, headers=headers)


def _add(headers: CIMultiDict[str], more: Iterable[event_pb2.Header]) -> None:
    for header in more:
        headers.add(header.name.decode(), header.value.decode())


def last_bytes(response: Answer) -> bytes:
    """An answer as it is written where no request is: its connection ends with it."""
    body = bytes(response.body or b"") if isinstance(response.body, bytes) else b""
    status = HTTPStatus(response.status)
    lines = [f"HTTP/1.1 {status} {status.phrase}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines.append(f"{CONTENT_TYPE_OPTIONS}: nosniff")
    if "Content-Length" not in response.headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
