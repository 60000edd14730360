"""The flows that are served, ready for a request: verifier, limits, answer."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from pydantic import ValidationError

from hookline.catalog import Catalog
from hookline.components.steps import secret_names
from hookline.event import FlowId
from hookline.flow import MOST_BODY_BYTES, Flow, Response
from hookline.secrets import Secrets
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2, flow_pb2
from services.router.verifiers import Verifier, build_verifier

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedFlow:
    """A flow's current version as a request meets it.

    `verifier` is None while secrets are missing: then the flow is inactive.
    """

    flow: Flow
    stored: flow_pb2.Flow
    verifier: Verifier | None
    reply: event_pb2.Reply | None
    missing_secrets: tuple[str, ...]
    version: int
    methods: tuple[str, ...]
    max_body: int
    raw: bool


class Registry:
    """Served flows by id; follows the catalog."""

    def __init__(
        self,
        catalog: Catalog,
        secrets: Secrets,
        public_url: str,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        self._most_body_bytes = most_body_bytes
        self._catalog = catalog
        self._secrets = secrets
        self._public_url = public_url
        self._served: dict[str, ServedFlow] = {}
        catalog.on_change(self._load)

    def get(self, flow_id: str) -> ServedFlow | None:
        """The flow with this id, if it is served."""
        return self._served.get(flow_id)

    def has(self, flow_id: str) -> bool:
        """Whether a flow is served."""
        return flow_id in self._served

    def all(self) -> Iterator[ServedFlow]:
        """Every served flow, by id."""
        for flow_id in sorted(self._served):
            yield self._served[flow_id]

    def reload_inactive(self) -> None:
        """Look the secrets that were missing up again."""
        for flow_id, served in list(self._served.items()):
            if served.missing_secrets:
                self._load(FlowId(flow_id))

    def _load(self, flow_id: FlowId) -> None:
        stored = self._catalog.current(flow_id)
        if stored is None:
            self._served.pop(flow_id, None)
            return
        try:
            self._served[flow_id] = self._serve(stored)
        except ValidationError as error:
            # Written by another version of Hookline; the one before, if any, goes on.
            logger.error("flow.unreadable", flow_id=flow_id, error=str(error))  # noqa: TRY400

    def _serve(self, stored: flow_pb2.Flow) -> ServedFlow:
        flow = Flow.model_validate_json(stored.definition)
        missing = self._secrets.missing(secret_names(flow))
        verifier = None
        if not missing:
            verifier = build_verifier(
                flow.webhook.auth, self._secrets.get, self._public_url
            )
        reply = _reply(flow.webhook.response) if flow.webhook.response else None
        return ServedFlow(
            flow,
            stored,
            verifier,
            reply,
            missing,
            version=stored.version,
            methods=flow.webhook.methods,
            max_body=min(flow.webhook.max_body, self._most_body_bytes),
            raw=flow.webhook.raw,
        )


def _reply(response: Response) -> event_pb2.Reply:
    content_type, body = _content(response)
    headers = [
        event_pb2.Header(name=name.encode(), value=value.encode())
        for name, value in response.headers.items()
    ]
    if content_type and not any(h.name.lower() == b"content-type" for h in headers):
        headers.insert(0, event_pb2.Header(name=b"Content-Type", value=content_type))
    return event_pb2.Reply(status=response.status, headers=headers, body=body)


def _content(response: Response) -> tuple[bytes, bytes]:
    match response.body:
        case None:
            return b"", b""
        case str() as text:
            literal = text[1:] if text.startswith("==") else text
            return b"text/plain; charset=utf-8", literal.encode()
        case value:
            return b"application/json", msgspec.json.encode(value)
