"""All services in one loop, opened in the order in which they need each other."""

import asyncio
import secrets as random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hookline.catalog import Catalog
from hookline.cli.admin import Admin, serve_admin
from hookline.cli.flow_directory import FlowDirectory
from hookline.cli.options import TOKEN_FILE
from hookline.components import Resources, component_types
from hookline.components.steps import Types
from hookline.errors import BadConfiguration
from hookline.http_client import GuardedClient
from hookline.log import Log
from hookline.log.sqlite import open_log
from hookline.secrets import Secrets
from hookline.settings import Settings
from hookline.telemetry import Metrics
from hookline.topics import Topics
from services.console.execution_service import add_executions
from services.console.history import History
from services.executor.attempts import Attempts
from services.executor.execution import Executions
from services.executor.flows import Flows
from services.executor.journal import Journal, Listener
from services.executor.serve import Executor, Limits, executing
from services.ingress.serve import Edge, serve_http
from services.router.applier import Applier
from services.router.receiver import Receiver
from services.router.registry import Registry
from services.router.serve import Add, Door, router_services, serve_grpc


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


@dataclass(frozen=True, slots=True)
class Shared:
    """What the services of one process have in common."""

    settings: Settings
    secrets: Secrets
    topics: Topics
    metrics: Metrics
    log: Log
    catalog: Catalog
    types: Types


@asynccontextmanager
async def hosting(
    options: Options,
    settings: Settings,
    environment: Mapping[str, str],
    listener: Listener,
    *,
    vfs: str | None = None,
    types: Types | None = None,
) -> AsyncIterator[Hosted]:
    """Run everything while the block runs; stop it in the opposite order.

    `vfs` names the SQLite file layer under the log, `types` are the components
    there are; tests bring their own.

    Raises BadConfiguration where a port or the data directory cannot be used.
    """
    topics = Topics.with_partitions(settings.log.partitions)
    types = component_types() if types is None else types
    secrets = _secrets(environment)
    async with AsyncExitStack() as stack:
        deadline_s = settings.log.append_deadline_s
        log = await stack.enter_async_context(
            open_log(options.data, topics.all, append_deadline_s=deadline_s, vfs=vfs)
        )
        catalog = Catalog(log, topics)
        shared = Shared(settings, secrets, topics, Metrics(), log, catalog, types)
        registry = Registry(catalog, secrets, settings.ingress.public_url)
        await stack.enter_async_context(_following(catalog))
        applier = Applier(catalog, log, topics, secrets, types)
        directory = FlowDirectory(options.flows, applier, registry)
        await directory.apply()
        if options.executor:
            await stack.enter_async_context(_executor(shared, listener))
        router = _Router(registry, applier)
        yield await _open_ports(stack, options, shared, router, directory)


@dataclass(frozen=True, slots=True)
class _Router:
    registry: Registry
    applier: Applier


def _executions(history: History) -> Add:
    return lambda server: add_executions(history, server)


async def _open_ports(
    stack: AsyncExitStack,
    options: Options,
    shared: Shared,
    router: _Router,
    directory: FlowDirectory,
) -> Hosted:
    receiver = Receiver(router.registry, shared.log, shared.topics, shared.metrics)
    services = (
        *router_services(receiver, router.applier, router.registry),
        _executions(History(shared.log, shared.topics)),
    )
    tokens = _tokens(options.data, shared.settings.router.tokens)
    door = Door(options.grpc, tokens, shared.settings.router.reflection)
    grpc_port = await stack.enter_async_context(serve_grpc(door, services))
    admin = Admin(*_address(options.admin, "--admin"), shared.metrics)
    admin_port = await stack.enter_async_context(serve_admin(admin))
    host, port = _address(options.http, "--http")
    ingress = shared.settings.ingress
    edge = Edge(
        host,
        port,
        head_timeout_s=ingress.head_timeout_s,
        body_timeout_s=ingress.body_timeout_s,
        body_floor_bytes_per_s=ingress.body_floor_bytes_per_s,
    )
    http_port = await stack.enter_async_context(serve_http(edge, receiver))
    return Hosted(
        options,
        http=_with_port(options.http, http_port),
        grpc=_with_port(options.grpc, grpc_port),
        admin=_with_port(options.admin, admin_port),
        directory=directory,
        log=shared.log,
        topics=shared.topics,
    )


@asynccontextmanager
async def _executor(shared: Shared, listener: Listener) -> AsyncIterator[None]:
    settings = shared.settings.executor
    async with GuardedClient(allow=shared.settings.egress.allow) as http:
        flows = Flows(shared.catalog, Resources(http), shared.secrets, shared.types)
        journal = Journal(shared.log, shared.topics, shared.metrics, listener)
        attempts = Attempts(shared.metrics)
        executions = Executions(flows, attempts, journal)
        limits = Limits(
            settings.concurrent_executions,
            settings.unfinished_per_partition,
            drain_s=settings.drain_s,
        )
        executor = Executor(
            shared.log,
            shared.topics,
            executions,
            shared.metrics,
            limits=limits,
        )
        async with executing(executor):
            yield


@asynccontextmanager
async def _following(catalog: Catalog) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(catalog.run())
        await catalog.wait_caught_up()
        try:
            yield
        finally:
            task.cancel()


def _secrets(environment: Mapping[str, str]) -> Secrets:
    directory = environment.get("HOOKLINE_SECRETS_DIR")
    return Secrets(environment, Path(directory) if directory else None)


def _tokens(data: Path, configured: Sequence[str]) -> Sequence[str]:
    """The configured tokens, and one of this data directory's own, made once."""
    path = data / TOKEN_FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(random.token_urlsafe(32) + "\n", encoding="ascii")
    return *configured, path.read_text(encoding="ascii").strip()


def _address(text: str, flag: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004
        raise BadConfiguration(f"{flag} takes HOST:PORT, as in 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def _with_port(text: str, port: int) -> str:
    return f"{text.rpartition(':')[0]}:{port}"
