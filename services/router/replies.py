"""A flow's own answers to what it accepts: made once, or computed from the request.

An expression is evaluated before the append, within bounds that keep everybody else's
answers quick. It decides about the answer only, never about the event: where it fails,
the event is accepted all the same and answered with the default reply; a line and a metric
tell. The sender's request is in order: no refusal would make it send a better one.
A body in the body store is not fetched for an answer, nor are the elements of a batch told
apart: there `body` is null.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from hookline import bodies
from hookline.event import EventId, Trigger, Value
from hookline.expression import ExpressionError
from hookline.flow import Flow
from hookline.flow_answers import REPLY_LIMITS, Response
from hookline.telemetry import Sampled, get_logger
from hookline.template import has_expression, no_secrets
from hookline.v1 import event_pb2

TEXT: Final = "text/plain; charset=utf-8"
BATCH: Final = b"cloudevents-batch"
JSON: Final = "application/json"
failures = Sampled(get_logger(__name__), level="warning")


class Counter(Protocol):
    """Counts what has failed."""

    def inc(self) -> None:
        """One more."""
        ...


def header(name: str, value: str) -> event_pb2.Header:
    """A header of an answer."""
    return event_pb2.Header(name=name.encode(), value=value.encode())


def is_computed(response: Response) -> bool:
    """Whether an answer depends on the request."""
    headers = [value.source for value in response.headers.values()]
    return has_expression([response.body.source, *headers])


def static_reply(response: Response) -> event_pb2.Reply:
    """An answer that is always the same."""
    return _rendered(response, {})


def _rendered(response: Response, scope: Mapping[str, Any]) -> event_pb2.Reply:
    """The answer over a scope. Raises ExpressionError where it cannot be sent."""
    headers = []
    for name, template in response.headers.items():
        value = template.renderer(scope, no_secrets)
        if value is not None:
            headers.append(header(name, _header_text(name, value)))
    content_type, body = content_of(response.body.renderer(scope, no_secrets))
    if content_type and not any(h.name.lower() == b"content-type" for h in headers):
        headers.insert(0, header("Content-Type", content_type))
    return event_pb2.Reply(status=response.status, headers=headers, body=body)


def _header_text(name: str, value: Value) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ExpressionError(f"the value of {name} is neither text nor a number")
    text = str(value)
    if not text.isprintable():
        raise ExpressionError(f"the value of {name} is not one printable line")
    return text


def content_of(value: Value) -> tuple[str, bytes]:
    """The content type and the bytes of a value; nothing is no content."""
    match value:
        case None:
            return "", b""
        case str():
            return TEXT, value.encode()
        case _:
            return JSON, msgspec.json.encode(value)


class ComputedReply:
    """An answer with expressions over the request."""

    def __init__(self, flow: Flow, version: int, response: Response) -> None:
        self._response = response
        self._raw = flow.webhook.raw
        self._flow = {"id": flow.id, "version": version, "name": flow.name}
        self._vars = flow.vars

    def read(
        self, request: event_pb2.Request, limit: int, *, decodes: bool
    ) -> tuple[tuple[bytes, ...] | None, Trigger | None]:
        """The request as expressions see it; the elements instead where it is a batch.

        Raises what `bodies.check` raises, in whose place it stands.
        """
        if not decodes and bodies.is_coded(request):
            raise bodies.Coded
        if any(BATCH in h.value.lower() for h in request.headers):
            return bodies.check(request, raw=self._raw, limit=limit), None
        trigger, _ = bodies.trigger_of(request, raw=self._raw, limit=limit)
        return None, trigger

    def reply(
        self,
        event_id: EventId,
        request: event_pb2.Request,
        trigger: Trigger | None,
        failed: Counter,
    ) -> event_pb2.Reply | None:
        """The answer; None, counted and told in a line, where it cannot be computed."""
        try:
            return self._reply(event_id, request, trigger)
        except ExpressionError as error:
            failed.inc()
            failures.line("reply.failed", flow_id=request.flow_id, cause=str(error))
            return None

    def _reply(
        self, event_id: EventId, request: event_pb2.Request, trigger: Trigger | None
    ) -> event_pb2.Reply:
        if trigger is None:
            trigger = head_of(request)
        try:
            reply = _rendered(self._response, self._scope(event_id, trigger))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ExpressionError(str(error)) from error
        if reply.ByteSize() > REPLY_LIMITS.size:
            raise ExpressionError(f"the answer has more than {REPLY_LIMITS.size} bytes")
        return reply

    def _scope(self, event_id: EventId, trigger: Trigger) -> Mapping[str, Any]:
        request = {
            "body": trigger.body,
            "headers": trigger.headers,
            "query": trigger.query,
            "method": trigger.method,
            "path": trigger.path,
        }
        return {
            **request,
            "trigger": request,
            "vars": self._vars,
            "event": {"id": event_id, "accepted_at_ms": time.time_ns() // 1_000_000},
            "flow": self._flow,
        }


def head_of(request: event_pb2.Request) -> Trigger:
    """A request without its body, as expressions see it; the body is null."""
    head = event_pb2.Request(
        method=request.method,
        path=request.path,
        query=request.query,
        headers=[h for h in request.headers if h.name.lower() != b"content-type"],
    )
    trigger, _ = bodies.trigger_of(head)
    return msgspec.structs.replace(trigger, body=None)
