"""All services in one loop, opened in the order in which they need each other."""

import secrets as random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hookline.body_store import open_body_store
from hookline.catalog import Catalog
from hookline.cli.addresses import with_port
from hookline.cli.admin import serve_admin
from hookline.cli.console import showing
from hookline.cli.executor import running_executor
from hookline.cli.flow_directory import FlowDirectory
from hookline.cli.ingress import edge_of
from hookline.cli.log_place import EMBEDDED_PARTITIONS
from hookline.cli.options import TOKEN_FILE
from hookline.cli.readiness import Readiness
from hookline.cli.router import (
    bounded_receiver,
    internal_services,
    revealed,
    routing_of,
)
from hookline.cli.wiring import Shared, admin_of, body_store_of, following, secrets_of
from hookline.components import component_types
from hookline.components.steps import Types
from hookline.log import Log
from hookline.log.sqlite import open_log
from hookline.metrics import ConsoleMetrics, EdgeMetrics, Metrics, ProcessMetrics
from hookline.secrets import Secrets
from hookline.settings import Settings
from hookline.topics import Topics
from services.executor.journal import Listener
from services.ingress.serve import serve_http
from services.router.serve import Door, serve_grpc


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    data: Path
    flows: Path
    http: str
    grpc: str
    admin: str
    executor: bool = True


@dataclass(frozen=True, slots=True)
class Hosted:
    """What is running, and where."""

    options: Options
    http: str
    grpc: str
    admin: str
    directory: FlowDirectory
    log: Log
    topics: Topics


@asynccontextmanager
async def hosting(
    options: Options,
    settings: Settings,
    environment: Mapping[str, str],
    listener: Listener,
    readiness: Readiness,
    *,
    vfs: str | None = None,
    types: Types | None = None,
) -> AsyncIterator[Hosted]:
    """Run everything while the block runs; stop it in the opposite order.

    `vfs` names the SQLite file layer under the log, `types` are the components
    there are; tests bring their own.

    Raises BadConfiguration where a port or the data directory cannot be used.
    """
    types = component_types() if types is None else types
    process = ProcessMetrics(lambda: readiness.ready)
    metrics = Metrics(router=process.registry, executor=process.registry)
    async with AsyncExitStack() as stack:
        admin = admin_of(options.admin, process, readiness)
        admin_port = await stack.enter_async_context(serve_admin(admin))
        shared = await stack.enter_async_context(
            _sharing(
                options,
                settings,
                secrets_of(environment),
                metrics,
                types=types,
                vfs=vfs,
            )
        )
        routing = routing_of(shared)
        await stack.enter_async_context(following(shared, readiness))
        directory = FlowDirectory(options.flows, routing.applier, routing.registry)
        await directory.apply()
        if options.executor:
            await stack.enter_async_context(running_executor(shared, listener))
        history = await stack.enter_async_context(
            showing(shared, options.data, ConsoleMetrics(process.registry))
        )
        grpc = await stack.enter_async_context(
            serve_grpc(
                _door(options, settings),
                (*internal_services(shared, routing), history),
                lambda: readiness.able,
            )
        )
        edge = edge_of(options.http, settings)
        counted = EdgeMetrics(process.registry)
        bounded = bounded_receiver(shared, routing)
        counted.bytes_in_flight.set_function(lambda: bounded.bytes_in_flight)
        http = await stack.enter_async_context(serve_http(edge, bounded, counted))
        yield Hosted(
            options,
            http=with_port(options.http, http),
            grpc=with_port(options.grpc, grpc),
            admin=with_port(options.admin, admin_port),
            directory=directory,
            log=shared.log,
            topics=shared.topics,
        )


@asynccontextmanager
async def _sharing(
    options: Options,
    settings: Settings,
    secrets: Secrets,
    metrics: Metrics,
    *,
    types: Types,
    vfs: str | None,
) -> AsyncIterator[Shared]:
    """What the services have in common: the log in the data directory first of all."""
    topics = Topics.with_partitions(settings.log.partitions or EMBEDDED_PARTITIONS)
    async with open_log(
        options.data,
        topics.all,
        append_deadline_s=settings.log.append_deadline_s,
        most_pending_bytes=settings.log.most_pending_bytes,
        vfs=vfs,
    ) as log:
        catalog = Catalog(log, topics)
        bodies = body_store_of(settings) or open_body_store(_bodies_in(options.data))
        yield Shared(settings, secrets, topics, metrics, log, catalog, types, bodies)


def _bodies_in(data: Path) -> str:
    return (data.absolute() / "bodies").as_uri()


def _door(options: Options, settings: Settings) -> Door:
    tokens = _tokens(options.data, revealed(settings.router.tokens))
    return Door(options.grpc, tokens, settings.router.reflection)


def _tokens(data: Path, configured: Sequence[str]) -> Sequence[str]:
    """The configured tokens, and one of this data directory's own, made once."""
    path = data / TOKEN_FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(random.token_urlsafe(32) + "\n", encoding="ascii")
    return *configured, path.read_text(encoding="ascii").strip()
