"""Stop 1: an HTTP request becomes a `Request`, the verdict on it an HTTP answer.

Raw body bytes and header pairs go on as they were sent. The answer waits for the verdict,
never the other way round.
"""

import os
import re
import time
from random import Random
from typing import Protocol

from aiohttp import web
from aiohttp.streams import StreamReader

from hookline.event import FLOW_ID, IN_LINE_BYTES
from hookline.failpoints import failpoint
from hookline.v1 import event_pb2
from services.ingress.back_seat import BackSeat
from services.ingress.body import Body, Read
from services.ingress.connection import Connection
from services.ingress.expectation import invitation
from services.ingress.framing import unclear
from services.ingress.replies import answer, problem

PREFIX = "/hook/"
# Ids need to differ, not to be secret; the system's source would cost a call each.
RANDOM = Random(os.urandom(16))  # noqa: S311
REQUEST_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
NO_FLOW = "There is no flow with this id: check the URL, or apply the flow."


class Router(Protocol):
    """Who judges requests: the receiver in the same process, or one behind gRPC."""

    async def receive(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """Judge a request whose body is here."""
        ...

    async def upload(
        self,
        head: event_pb2.Request,
        declared_size: int | None,
        read: Read,
    ) -> event_pb2.Outcome:
        """Judge a request whose body is still on its way."""
        ...


class Ingress:
    """The handler of every request to the public port."""

    def __init__(
        self, router: Router, *, body_timeout_s: float, body_floor_bytes_per_s: int
    ) -> None:
        self._router = router
        self._back_seat = BackSeat()
        self._body_timeout_s = body_timeout_s
        self._body_floor = body_floor_bytes_per_s

    async def receive(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        if (text := unclear(http)) is not None:
            return _ended(text, http)
        try:
            request = _as_request(http)
        except UnicodeEncodeError:
            text = "Percent-encode the URL: it has bytes that are no text."
            return problem(event_pb2.REASON_MALFORMED, text, _request_id(http))
        if request is None:
            return problem(event_pb2.REASON_UNKNOWN_FLOW, NO_FLOW, _request_id(http))
        failpoint("ingress.before_forwarding")
        if _is_whole(http.content):
            request.body = http.content.read_nowait(-1)
            outcome = await self._router.receive(request)
        else:
            outcome = await self._upload(request, http)
        failpoint("ingress.after_verdict_before_answer")
        if outcome.HasField("rejected"):
            await self._back_seat.wait(outcome.rejected.reason)
        else:
            self._back_seat.make_way()
        response = answer(outcome)
        if not http.content.is_eof():
            # What was not read is not waited for: the connection ends with the answer.
            response.force_close()
        return response

    async def _upload(
        self, head: event_pb2.Request, http: web.BaseRequest
    ) -> event_pb2.Outcome:
        invite = invitation(http)
        body = Body(http.content, self._body_timeout_s, self._body_floor, invite)
        return await self._router.upload(head, http.content_length, body.read)


def _is_whole(content: StreamReader) -> bool:
    return (
        content.is_eof()
        and content.exception() is None
        and content.total_bytes <= IN_LINE_BYTES
    )


def _as_request(http: web.BaseRequest) -> event_pb2.Request | None:
    """The head of a request; None where the path is no webhook URL."""
    target = http.raw_path
    if not target.startswith("/"):
        target = http.rel_url.raw_path_qs
    path, _, query = target.partition("?")
    if not path.startswith(PREFIX):
        return None
    flow_id, slash, rest = path[len(PREFIX) :].partition("/")
    if FLOW_ID.fullmatch(flow_id) is None:
        return None
    # Field by field: a message that is made of others copies them.
    request = event_pb2.Request()
    request.request_id = _request_id(http)
    request.flow_id = flow_id
    request.method = http.method
    request.path = slash + rest
    request.query = query
    request.remote = _remote(http)
    request.received_at_us = time.time_ns() // 1000
    add = request.headers.add
    for name, value in http.raw_headers:
        header = add()
        header.name, header.value = name, value
    return request


def _ended(text: str, http: web.BaseRequest) -> web.StreamResponse:
    """A refusal with which the connection ends: what comes next on it is in doubt."""
    response = problem(event_pb2.REASON_MALFORMED, text, _request_id(http))
    response.force_close()
    return response


def _request_id(http: web.BaseRequest) -> str:
    sent = http.headers.get("x-request-id", "")
    return sent if REQUEST_ID.fullmatch(sent) else f"{RANDOM.getrandbits(128):032x}"


def _remote(http: web.BaseRequest) -> str:
    """The sender's address; its connection knows."""
    connection = http.protocol
    return connection.remote(http) if isinstance(connection, Connection) else ""
