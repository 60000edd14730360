"""The console: how it is put together, and alone in its process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from hookline.cli.addresses import with_port
from hookline.cli.admin import serve_admin
from hookline.cli.log_place import Directory, parse_place
from hookline.cli.process import Facts, run_service
from hookline.cli.readiness import Readiness
from hookline.cli.wiring import Shared, admin_of, following, sharing
from hookline.errors import BadConfiguration
from hookline.metrics import ConsoleMetrics, Metrics, ProcessMetrics
from hookline.settings import Settings
from services.console.asking import Asking
from services.console.execution_service import add_executions
from services.console.following import Following
from services.console.history import History
from services.console.index_file import open_index
from services.console.replays import replaying
from services.router.serve import Add, Door, serve_grpc

CALLERS_UNNAMED = (
    "set HOOKLINE_ROUTER__TOKENS: tokens by which internal callers may ask for events; "
    "those that routers have, which pass their callers on to here"
)


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What the command line says of a console."""

    grpc: str
    log: str
    data: Path
    admin: str


def run_console(options: ConsoleOptions) -> None:
    """Show events from this process. Raises BadConfiguration, Unavailable."""
    place = parse_place(options.log)
    if isinstance(place, Directory):
        raise BadConfiguration(
            f"{place} is a log of one process, which has the console built in: ask "
            "`hookline up`, or the router on it; --log takes kafka://HOST:PORT here"
        )

    @asynccontextmanager
    async def opened(settings: Settings, readiness: Readiness) -> AsyncIterator[Facts]:
        door = _door(options.grpc, settings)
        process = ProcessMetrics(lambda: readiness.ready)
        metrics = Metrics(router=None, executor=None)
        admin = admin_of(options.admin, process, readiness)
        async with (
            serve_admin(admin) as admin_port,
            sharing(place, settings, metrics, readiness) as shared,
            following(shared, readiness),
            showing(shared, options.data, ConsoleMetrics(process.registry)) as add,
            serve_grpc(door, (add,), lambda: readiness.able) as port,
        ):
            yield {
                "grpc": with_port(options.grpc, port),
                "log": str(place),
                "admin": f"http://{with_port(options.admin, admin_port)}",
            }

    run_service("console", opened)


@asynccontextmanager
async def showing(
    shared: Shared, directory: Path, metrics: ConsoleMetrics | None = None
) -> AsyncIterator[Add]:
    """Keep an index of the log in a directory while the block runs.

    Gives what adds ExecutionService to a server. Raises BadConfiguration where the
    directory cannot be used.
    """
    log_name = f"{shared.settings.kafka.topic_prefix} {shared.topics.events.partitions}"
    writing, reading = await asyncio.to_thread(open_index, directory, log_name)
    index_follows = Following(shared.log, shared.topics, writing)
    history = History(shared.log, shared.topics, reading, index_follows)
    if metrics is not None:
        metrics.behind.set_function(lambda: index_follows.behind)
    try:
        async with (
            asyncio.TaskGroup() as tasks,
            replaying(history, shared.catalog, shared.bodies) as replays,
        ):
            task = tasks.create_task(index_follows.run())

            def add(server: grpc.aio.Server) -> str:
                return add_executions(history, Asking(history), replays, server)

            try:
                yield add
            finally:
                task.cancel()
    finally:
        history.close()
        writing.close()
        reading.close()


def _door(place: str, settings: Settings) -> Door:
    tokens = [one.get_secret_value() for one in settings.router.tokens]
    if not tokens:
        raise BadConfiguration(CALLERS_UNNAMED)
    return Door(place, tokens, settings.router.reflection)
