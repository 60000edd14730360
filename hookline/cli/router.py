"""The router: how it is put together, and alone in its process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from hookline.cli.addresses import with_port
from hookline.cli.admin import serve_admin
from hookline.cli.console import showing
from hookline.cli.log_place import Directory, Place, parse_place
from hookline.cli.process import Facts, run_service
from hookline.cli.readiness import Readiness
from hookline.cli.wiring import Shared, admin_of, following, sharing
from hookline.errors import BadConfiguration
from hookline.metrics import Metrics, ProcessMetrics
from hookline.settings import Router as RouterSettings
from hookline.settings import Settings
from services.router.applier import Applier
from services.router.decider import Decider
from services.router.flow_summaries import FlowSummaries
from services.router.forwarding import forwarding_to
from services.router.guards import Failures
from services.router.in_process import Bounded
from services.router.rates import Limits
from services.router.receiver import Receiver
from services.router.registry import Admission, Registry
from services.router.rejections_service import add_rejections
from services.router.router_service import add_router
from services.router.serve import Add, Door, router_services, serve_grpc
from services.router.sources import Sources

EDGE_UNNAMED = (
    "set HOOKLINE_ROUTER__EDGE_TOKENS: tokens by which ingress processes may hand webhooks "
    "in; each shows one of them (HOOKLINE_INGRESS__ROUTER_TOKEN)"
)
CALLERS_UNNAMED = (
    "set HOOKLINE_ROUTER__TOKENS: tokens by which internal callers may publish, and apply "
    "flows; each shows one of them (HOOKLINE_TOKEN)"
)
ONE_FOR_BOTH = (
    "HOOKLINE_ROUTER__TOKENS and HOOKLINE_ROUTER__EDGE_TOKENS share a token: make another, "
    "so that each lets in only those it was given to"
)


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What the command line says of a router."""

    grpc: str
    log: str
    admin: str


@dataclass(frozen=True, slots=True)
class Routing:
    """The router's parts."""

    registry: Registry
    applier: Applier
    receiver: Receiver
    decider: Decider
    summaries: FlowSummaries


def run_router(options: RouterOptions) -> None:
    """Serve the gRPC port from this process. Raises BadConfiguration, Unavailable."""
    place = parse_place(options.log)

    @asynccontextmanager
    async def opened(settings: Settings, readiness: Readiness) -> AsyncIterator[Facts]:
        door = _door(options.grpc, settings)
        process = ProcessMetrics(lambda: readiness.ready)
        metrics = Metrics(router=process.registry, executor=None)
        admin = admin_of(options.admin, process, readiness)
        async with (
            serve_admin(admin) as admin_port,
            sharing(place, settings, metrics, readiness) as shared,
        ):
            routing = routing_of(shared)
            services = (
                edge_service(shared, routing),
                *internal_services(shared, routing),
            )
            async with (
                following(shared, readiness),
                _history_of(shared, place) as history,
                serve_grpc(door, (*services, history), lambda: readiness.able) as port,
            ):
                yield {
                    "grpc": with_port(options.grpc, port),
                    "log": str(place),
                    "admin": f"http://{with_port(options.admin, admin_port)}",
                }

    run_service("router", opened)


@asynccontextmanager
async def _history_of(shared: Shared, place: Place) -> AsyncIterator[Add]:
    """ExecutionService: the console's, or here where the log is one process's alone."""
    if isinstance(place, Directory):
        async with showing(shared, place.path) as add:
            yield add
    else:
        async with forwarding_to(shared.settings.router.console) as add:
            yield add


def routing_of(shared: Shared) -> Routing:
    """Build the router; before the catalog is followed, so that it sees every flow."""
    settings = shared.settings.router
    most_body_bytes = shared.settings.bodies.most_bytes
    failures = Failures(settings.failures, settings.failures_per_s)
    registry = Registry(
        shared.catalog,
        shared.secrets,
        settings.public_url,
        Admission(settings.routers, failures),
        most_body_bytes,
        keys_failed=shared.metrics.keys_failed,
    )
    applier = Applier(
        shared.catalog,
        shared.log,
        shared.topics,
        shared.secrets,
        shared.types,
        most_body_bytes=most_body_bytes,
    )
    receiver = Receiver(
        registry,
        shared.log,
        shared.topics,
        shared.metrics,
        shared.catalog.caught_up,
        sources=_sources(settings),
        body_store=shared.bodies,
    )
    decider = Decider(shared.catalog, shared.log, shared.topics)
    summaries = FlowSummaries(shared.catalog, registry, shared.secrets)
    return Routing(registry, applier, receiver, decider, summaries)


def _sources(settings: RouterSettings) -> Sources | None:
    limits = Limits(
        requests=settings.source_rate or None,
        bytes=settings.source_bytes or None,
        in_flight=settings.source_in_flight or None,
    )
    return None if limits == Limits() else Sources(limits, settings.routers)


def edge_service(shared: Shared, routing: Routing) -> Add:
    """What ingress processes find on the gRPC port."""
    settings = shared.settings.router
    return lambda server: add_router(
        routing.receiver,
        server,
        most_bytes_in_flight=settings.most_bytes_in_flight,
        most_upload_bytes=settings.most_upload_bytes,
    )


def bounded_receiver(shared: Shared, routing: Routing) -> Bounded:
    """What the edge calls where it is in the same process."""
    settings = shared.settings
    return Bounded(
        routing.receiver,
        settings.ingress.most_bytes_in_flight,
        settings.router.most_upload_bytes,
    )


def internal_services(shared: Shared, routing: Routing) -> tuple[Add, ...]:
    """What internal callers find on the gRPC port."""
    return (
        *router_services(
            routing.receiver, routing.applier, routing.decider, routing.summaries
        ),
        lambda server: add_rejections(
            routing.registry, shared.log, shared.topics, shared.metrics, server
        ),
    )


def revealed(tokens: Sequence[SecretStr]) -> list[str]:
    """Tokens as those who compare them need them."""
    return [token.get_secret_value() for token in tokens]


def _door(place: str, settings: Settings) -> Door:
    tokens = revealed(settings.router.tokens)
    edge_tokens = revealed(settings.router.edge_tokens)
    mistakes = []
    if not edge_tokens:
        mistakes.append(EDGE_UNNAMED)
    if not tokens:
        mistakes.append(CALLERS_UNNAMED)
    if set(tokens) & set(edge_tokens):
        mistakes.append(ONE_FOR_BOTH)
    if mistakes:
        raise BadConfiguration("\n".join(mistakes))
    return Door(place, tokens, settings.router.reflection, edge_tokens=edge_tokens)
