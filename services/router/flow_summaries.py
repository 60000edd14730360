"""Flows as FlowService shows them: those that are served, and those that are not."""

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from hookline.catalog import Catalog
from hookline.components.steps import secret_names
from hookline.flow import Flow
from hookline.flow_records import ACTIVE, DELETED
from hookline.mistakes import nearest
from hookline.secrets import Secrets
from hookline.v1 import flow_pb2
from services.router.decider import DELETED_TEXT
from services.router.registry import Registry


class FlowSummaries:
    """What is known of flows here: their newest version, their state, what they lack."""

    def __init__(self, catalog: Catalog, registry: Registry, secrets: Secrets) -> None:
        self._records = catalog.records
        self._registry = registry
        self._secrets = secrets

    def all(self, *, deleted: bool) -> Iterator[flow_pb2.FlowSummary]:
        """All flows, by id."""
        for stored in self._records.flows():
            if deleted or self._records.state(stored.id) != DELETED:
                yield self._of(stored)

    def get(self, flow_id: str) -> flow_pb2.FlowSummary | None:
        """One flow, whatever its state; None where there never was such a flow."""
        stored = self._records.current(flow_id)
        return None if stored is None else self._of(stored)

    def why_not_there(self, flow_id: str, version: int = 0) -> str:
        """A sentence about a flow that is not there, or a version of it that is not."""
        state = self._records.state(flow_id)
        if state is not None and version:
            return (
                f"There is no version {version} of the flow {flow_id!r}: "
                f"hookline flows versions {flow_id}"
            )
        if state == DELETED:
            return DELETED_TEXT.format(flow_id)
        hint = nearest(flow_id, [stored.id for stored in self._records.flows()])
        known = hint if "mean" in hint else "`hookline flows list` has all."
        return f"There is no flow {flow_id!r}; {known}"

    def versions(self, flow_id: str) -> Iterator[flow_pb2.FlowVersion]:
        """All versions of a flow, newest first."""
        served = self._records.served(flow_id)
        for stored in self._records.versions(flow_id):
            yield flow_pb2.FlowVersion(
                version=stored.version,
                applied_at_us=stored.applied_at_us,
                name=stored.name,
                rolled_back_to=stored.rolled_back_to,
                current=stored is served,
            )

    def _of(self, stored: flow_pb2.Flow) -> flow_pb2.FlowSummary:
        decision = self._records.decision(stored.id)
        state = self._records.state(stored.id) or ACTIVE
        methods, missing = self._needs(stored)
        if state == ACTIVE and missing:
            state = flow_pb2.FLOW_STATE_INACTIVE
        return flow_pb2.FlowSummary(
            flow_id=stored.id,
            name=stored.name,
            version=stored.version,
            state=state,
            missing_secrets=missing,
            methods=methods,
            applied_at_us=stored.applied_at_us,
            decided_at_us=decision.decided_at_us,
            discarded=state == DELETED and decision.discards > stored.follows_decision,
        )

    def _needs(self, stored: flow_pb2.Flow) -> tuple[Sequence[str], Sequence[str]]:
        """The methods that it takes, and the secrets that it lacks."""
        if served := self._registry.get(stored.id):
            return served.methods, served.missing_secrets
        try:
            flow = Flow.model_validate_json(stored.definition)
        except ValidationError:
            return (), ()  # another version of Hookline has written it
        return flow.webhook.methods, self._secrets.missing(secret_names(flow))
