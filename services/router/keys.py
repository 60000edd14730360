"""Beside stop 3: the idempotency key of a request, if it has one.

In this order: what the flow's own expression gives; `Idempotency-Key`; `webhook-id` of
Standard Webhooks; the source and id of a CloudEvent. The key says which of these it is, so
that keys of different kinds never meet. Where a flow has an expression, nothing else
counts; where that gives nothing, or fails, the request has no key: it is accepted all the
same, and a line and a metric tell of the failure.
"""

import re
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from hookline import bodies
from hookline.bodies_cloudevents import EVENT_TYPE
from hookline.errors import Rejected
from hookline.event import EventId, Trigger, Value
from hookline.event_ids import keyed_event_id
from hookline.expression import ExpressionError
from hookline.flow import Flow
from hookline.telemetry import Sampled, get_logger
from hookline.template import no_secrets
from hookline.v1 import event_pb2
from services.router.replies import Counter, head_of

IDEMPOTENCY_KEY: Final = b"idempotency-key"
WEBHOOK_ID: Final = b"webhook-id"
CE_ID: Final = b"ce-id"
CE_SOURCE: Final = b"ce-source"
# How a header begins, in a serialized request, from which a key might come: the length of
# its name, and a little of the name. It is looked for in every request.
POSSIBLE: Final = re.compile(
    rb"\n(?:\x0f[iI][dD][eE]|\x0a[wW][eE][bB]|\x05[cC][eE]-"
    rb"|\x0c(?i:content-type)\x12.{1,2}(?i:application/c))",
    re.DOTALL,
)
# A request's head ends before, whoever sends it.
MOST_HEAD_BYTES: Final = 64 * 1024
CLOUD_EVENT: Final = EVENT_TYPE.encode()
# What is longer stands in the log as its digest.
LONGEST: Final = 256
# What an expression gives that has found nothing.
NOTHING: Final[tuple[Value, ...]] = (None, "", [], {})
READS_BODY: Final = re.compile(r"\bbody\b")
DIGEST_BYTES: Final = 8
failures = Sampled(get_logger(__name__), level="warning")


class Key(NamedTuple):
    """A request's key: the id of its event, a hash of its body, for how long."""

    text: str
    event_id: EventId
    body_hash: bytes
    window_s: int


class _Identity(msgspec.Struct):
    source: str = ""
    id: str = ""


_decode_identity = msgspec.json.Decoder(_Identity).decode


class Keying:
    """How a flow's requests are told from repeats."""

    def __init__(self, flow: Flow, failed: Counter | None = None) -> None:
        webhook = flow.webhook
        self._flow = {"id": flow.id, "name": flow.name}
        self._vars = flow.vars
        self._flow_id = flow.id
        self._raw = webhook.raw
        self._template = webhook.idempotency_key
        source = self._template.source if self._template else ""
        self._reads_body = READS_BODY.search(str(source)) is not None
        self._failed = failed
        self.window_s = webhook.dedupe_window

    @property
    def has_own(self) -> bool:
        """Whether the flow says itself what its requests are told from repeats by."""
        return self._template is not None

    def is_possible(self, serialized: bytes) -> bool:
        """Whether a request may have a key; costs little where it has none."""
        if not self.window_s:
            return False
        if self._template is not None:
            return True
        return POSSIBLE.search(serialized, 0, MOST_HEAD_BYTES) is not None

    def key_of(
        self, request: event_pb2.Request, trigger: Trigger | None, limit: int
    ) -> Key | None:
        """The key of a request that is not a batch; `trigger` is it parsed, if it was."""
        if self._template is not None:
            return self._own(request, trigger or self._trigger(request, limit))
        headers = _headers(request)
        if value := headers.get(IDEMPOTENCY_KEY):
            return self._made(request, f"header:{_text(value)}")
        if value := headers.get(WEBHOOK_ID):
            return self._made(request, f"webhook-id:{_text(value)}")
        if CE_ID in headers and CE_SOURCE in headers:
            source, number = _text(headers[CE_SOURCE]), _text(headers[CE_ID])
            return self._element_key(request, source, number)
        if CLOUD_EVENT in headers.get(b"content-type", b"").lower():
            trigger = trigger or self._trigger(request, limit)
            source = trigger.headers.get("ce-source", "")
            return self._element_key(request, source, trigger.headers.get("ce-id", ""))
        return None

    def element_key(self, request: event_pb2.Request, limit: int) -> Key | None:
        """The key of an element of a batch: what stands in the batch's head is not its."""
        if not self.window_s:
            return None
        if self._template is not None:
            return self._own(request, self._trigger(request, limit))
        try:
            identity = _decode_identity(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # it fails as what it is, in its turn
        return self._element_key(request, identity.source, identity.id)

    def published(self, request: event_pb2.Request, key: str) -> Key | None:
        """The key that an internal service gives."""
        if not self.window_s:
            return None
        return self._made(request, f"publish:{key}")

    def _element_key(
        self, request: event_pb2.Request, source: str, number: str
    ) -> Key | None:
        if not (source and number):
            return None
        return self._made(request, _cloud_event(source, number))

    def _own(self, request: event_pb2.Request, trigger: Trigger) -> Key | None:
        if self._reads_body and request.HasField("stored_body"):
            return None  # all of them would have the same
        value = self._evaluated(request, trigger)
        if value in NOTHING:
            return None
        text = value if isinstance(value, str) else _json(value)
        return self._made(request, f"own:{text}")

    def _evaluated(self, request: event_pb2.Request, trigger: Trigger) -> Value:
        parts = {
            "body": trigger.body,
            "headers": trigger.headers,
            "query": trigger.query,
            "method": trigger.method,
            "path": trigger.path,
        }
        scope = {**parts, "trigger": parts, "vars": self._vars, "flow": self._flow}
        assert self._template is not None  # noqa: S101 - the callers have looked
        try:
            return self._template.renderer(scope, no_secrets)
        except (ExpressionError, TypeError, ValueError, OverflowError) as error:
            if self._failed is not None:
                self._failed.inc()
            failures.line("key.failed", flow_id=request.flow_id, cause=str(error))
            return None

    def _trigger(self, request: event_pb2.Request, limit: int) -> Trigger:
        """The request parsed; its head alone where the body is not here."""
        if request.HasField("stored_body"):
            return head_of(request)
        try:
            return bodies.trigger_of(request, raw=self._raw, limit=limit)[0]
        except Rejected:
            return head_of(request)  # an element of a batch: its body fails in its turn

    def _made(self, request: event_pb2.Request, text: str) -> Key:
        if len(text) > LONGEST:
            kind = text.partition(":")[0]
            digest = sha256(text.encode(errors="surrogatepass")).hexdigest()
            text = f"{kind}:sha256:{digest}"
        text = text.encode(errors="replace").decode()
        event_id = keyed_event_id(self._flow_id, text)
        return Key(text, event_id, _digest_of(request), self.window_s)


def _digest_of(request: event_pb2.Request) -> bytes:
    """Of the body as sent; of the query where that is all there is."""
    if request.HasField("stored_body"):
        return request.stored_body.sha256[:DIGEST_BYTES]
    content = request.body or request.query.encode()
    return sha256(content).digest()[:DIGEST_BYTES]


def _headers(request: event_pb2.Request) -> dict[bytes, bytes]:
    """Values by lower-case name; of several of one name the first."""
    found: dict[bytes, bytes] = {}
    for header in request.headers:
        found.setdefault(header.name.lower(), header.value)
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _cloud_event(source: str, number: str) -> str:
    return f"cloudevent:{_json([source, number])}"


def _json(value: Value) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
