"""The flows that are served, ready for a request: verifier, limits, answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from hookline.catalog import Catalog
from hookline.components.steps import secret_names
from hookline.errors import Error, UnknownFlow
from hookline.event import FlowId
from hookline.flow import MOST_BODY_BYTES, Auth, Flow
from hookline.secrets import Secrets
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2, flow_pb2
from services.router.cors import CrossOrigin
from services.router.guards import Failures, Throttled, Verifies, told, untold
from services.router.keys import Keying
from services.router.networks import Near
from services.router.options import Options
from services.router.rates import Quota, limits_of
from services.router.refusals import (
    Concealed,
    Decoy,
    Dressed,
    Refusals,
    Unknown,
    Weighing,
)
from services.router.replies import (
    ComputedReply,
    Counter,
    header,
    is_computed,
    static_reply,
)
from services.router.verifiers import (
    build_verifier,
    can_be_guessed,
    has_credentials,
    signatures_of,
)

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServedFlow:
    """A flow's current version as a request meets it.

    `verifier` is None while secrets are missing: then the flow is inactive.
    """

    flow: Flow
    stored: flow_pb2.Flow
    verifier: Verifies | None
    reply: event_pb2.Reply | None
    missing_secrets: tuple[str, ...]
    version: int
    methods: tuple[str, ...]
    max_body: int
    raw: bool
    computed_reply: ComputedReply | None
    quota: Quota | None
    cors: CrossOrigin | None
    options: Options
    refusals: Refusals
    keying: Keying


def headers_of(
    served: ServedFlow, request: event_pb2.Request
) -> tuple[event_pb2.Header, ...]:
    """Headers of the answer besides its reply's: of the flow's rate, and for scripts."""
    if served.quota is None and served.cors is None:
        return ()
    fields = served.quota.fields() if served.quota is not None else ()
    cors = served.cors.on_answer(request) if served.cors is not None else ()
    return (*(header(name, value) for name, value in fields), *cors)


class Admission(NamedTuple):
    """What all flows of a router share: how many routers there are, who was wrong."""

    routers: int
    failures: Failures


AS_THEY_ARE = Refusals()


class Registry:
    """Served flows by id; follows the catalog."""

    def __init__(
        self,
        catalog: Catalog,
        secrets: Secrets,
        public_url: str,
        admission: Admission | None = None,
        most_body_bytes: int = MOST_BODY_BYTES,
        *,
        keys_failed: Counter | None = None,
    ) -> None:
        self._keys_failed = keys_failed
        self._most_body_bytes = most_body_bytes
        self._admission = admission or Admission(1, Failures())
        self._decoy = Decoy()
        self._unknown = Unknown(self._decoy, self._conceals)
        # The largest bodies that they take.
        self._concealed: dict[str, int] = {}
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

    def refusals(self, flow_id: str) -> Refusals:
        """How refusals of requests for a flow look."""
        served = self._served.get(flow_id)
        return self._unknown if served is None else served.refusals

    def reads_on(self, flow_id: str, error: Error) -> int:
        """How much of a refused request's body is read, lest it tell of a flow."""
        if isinstance(error, UnknownFlow) or self.refusals(flow_id).hides(error):
            return max(self._concealed.values(), default=0)
        return 0

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
        stored = self._catalog.records.served(flow_id)
        if stored is None:
            self._served.pop(flow_id, None)
            self._concealed.pop(flow_id, None)
            return
        try:
            self._served[flow_id] = self._serve(stored)
        except ValidationError as error:
            # Written by another version of Hookline; the one before, if any, goes on.
            logger.error("flow.unreadable", flow_id=flow_id, error=str(error))  # noqa: TRY400

    def _serve(self, stored: flow_pb2.Flow) -> ServedFlow:
        flow = Flow.model_validate_json(stored.definition)
        webhook = flow.webhook
        missing = self._secrets.missing(secret_names(flow))
        verifier = None if missing else self._verifier(flow)
        cors = CrossOrigin(webhook) if webhook.cors else None
        reply, computed = None, None
        if (response := webhook.response) is not None:
            if is_computed(response):
                computed = ComputedReply(flow, stored.version, response)
            else:
                reply = static_reply(response)
        return ServedFlow(
            flow,
            stored,
            verifier,
            reply,
            missing,
            version=stored.version,
            methods=webhook.methods,
            max_body=min(webhook.max_body, self._most_body_bytes),
            raw=webhook.raw,
            computed_reply=computed,
            quota=self._quota(flow),
            cors=cors,
            options=Options(webhook, cors),
            refusals=self._refusals(flow),
            keying=Keying(flow, self._keys_failed),
        )

    def _verifier(self, flow: Flow) -> Verifies:
        webhook = flow.webhook

        def build(auth: Sequence[Auth]) -> Verifies:
            built = build_verifier(auth, self._secrets.get, self._public_url)
            return Weighing(built) if webhook.conceal else built

        verifier = build(webhook.auth)
        if has_credentials(webhook.auth):
            signatures = signatures_of(webhook.auth)
            verifier = Throttled(
                flow.id,
                verifier,
                build(signatures) if signatures else None,
                self._admission.failures,
                untold if webhook.conceal else told,
                can_be_guessed=can_be_guessed(webhook.auth),
            )
        if webhook.allow_from is not None:
            verifier = Near(verifier, webhook.allow_from)
        return verifier

    def _quota(self, flow: Flow) -> Quota | None:
        """A flow's quota; what is left of it outlives a new version with the same."""
        limits = limits_of(flow.webhook.rate, flow.webhook.in_flight)
        if limits is None:
            return None
        before = self._served.get(flow.id)
        if before is not None and before.quota and before.quota.limits == limits:
            return before.quota
        return Quota("This flow", limits, self._admission.routers)

    def _refusals(self, flow: Flow) -> Refusals:
        self._concealed.pop(flow.id, None)
        if flow.webhook.conceal:
            most = min(flow.webhook.max_body, self._most_body_bytes)
            self._concealed[flow.id] = most
            return Concealed(self._decoy)
        look = flow.webhook.on_reject
        return Dressed(look) if look is not None else AS_THEY_ARE

    def _conceals(self) -> bool:
        return bool(self._concealed)
