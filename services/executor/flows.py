"""Flows ready to run, by version; built once, when their first event comes."""

from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from hookline.catalog import Catalog
from hookline.components import Resources
from hookline.components.steps import BoundStep, Types, build_steps, secret_names
from hookline.errors import TerminalError
from hookline.flow import Flow
from hookline.secrets import Secrets
from hookline.telemetry import get_logger
from hookline.v1 import flow_pb2
from services.executor.failure import StepFailed
from services.executor.tenure import Tenure

logger = get_logger(__name__)
LOOK_AGAIN_S = 1.0
LOOK_FOR_VERSION_S = 0.05
LOOKS_A_LINE = 200
KEPT = 4096


@dataclass(frozen=True, slots=True)
class BoundFlow:
    """A version of a flow with its steps' components."""

    flow: Flow
    steps: tuple[BoundStep, ...]
    on_error: tuple[BoundStep, ...] = ()


class Flows:
    """Builds flows from the catalog and keeps them."""

    def __init__(
        self,
        catalog: Catalog,
        resources: Resources,
        secrets: Secrets,
        types: Types,
    ) -> None:
        self._catalog = catalog
        self._resources = resources
        self._secrets = secrets
        self._types = types
        self._bound: dict[tuple[str, int], BoundFlow] = {}

    async def get(self, flow_id: str, version: int, tenure: Tenure) -> BoundFlow:
        """The flow as of a version; waits for a version or secrets not yet here.

        Raises CancelledError where the tenure ends first, StepFailed where the flow
        cannot be built, as when a component it names is not installed any more.
        """
        bound = self._bound.get((flow_id, version))
        if bound is not None:
            return bound
        stored = await self._wait_for_version(flow_id, version, tenure)
        await self._wait_for_secrets(stored, tenure)
        if len(self._bound) >= KEPT:
            self._bound.pop(next(iter(self._bound)))
        bound = self._bound[flow_id, version] = self._build(stored)
        return bound

    def _build(self, stored: flow_pb2.Flow) -> BoundFlow:
        flow = _flow_of(stored)
        try:
            build = partial(
                build_steps,
                resources=self._resources,
                secret=self._secrets.get,
                types=self._types,
            )
            return BoundFlow(flow, build(flow.steps), build(flow.on_error))
        except (KeyError, ValidationError) as error:
            raise _unbuildable(stored, error) from error

    async def _wait_for_version(
        self, flow_id: str, version: int, tenure: Tenure
    ) -> flow_pb2.Flow:
        """Routers write a version before events that name it; it may not be read yet."""
        looked = 0
        while (stored := self._catalog.version(flow_id, version)) is None:
            looked += 1
            if looked % LOOKS_A_LINE == 0:
                logger.error("flow.version_awaited", flow_id=flow_id, version=version)
            await tenure.wait(LOOK_FOR_VERSION_S)
        return stored

    async def _wait_for_secrets(self, stored: flow_pb2.Flow, tenure: Tenure) -> None:
        """Hold the flow's events, rather than fail them, while its secrets are gone."""
        flow = _flow_of(stored)
        while missing := self._secrets.missing(secret_names(flow)):
            logger.error("flow.blocked", flow_id=flow.id, missing_secrets=list(missing))
            await tenure.wait(LOOK_AGAIN_S)


def _flow_of(stored: flow_pb2.Flow) -> Flow:
    try:
        return Flow.model_validate_json(stored.definition)
    except ValidationError as error:
        raise _unbuildable(stored, error) from error


def _unbuildable(stored: flow_pb2.Flow, error: Exception) -> StepFailed:
    text = f"version {stored.version} of the flow cannot be built here: {error}"
    return StepFailed("", 0, TerminalError(text))
