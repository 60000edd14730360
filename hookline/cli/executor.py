"""The executor: how it is put together, and alone in its process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hookline.cli.addresses import with_port
from hookline.cli.admin import serve_admin
from hookline.cli.log_place import parse_place
from hookline.cli.process import Facts, run_service
from hookline.cli.readiness import Readiness
from hookline.cli.wiring import Shared, admin_of, following, sharing
from hookline.components import Resources
from hookline.http_client import GuardedClient
from hookline.metrics import Metrics, ProcessMetrics
from hookline.settings import Settings
from services.executor.attempts import Attempts
from services.executor.execution import Executions
from services.executor.flows import Flows
from services.executor.gate import Gate
from services.executor.journal import Journals, Listener
from services.executor.retention import Retention
from services.executor.serve import Executor, Limits, executing
from services.executor.trimming import Trims


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """What the command line says of an executor."""

    log: str
    admin: str


def run_executor(options: ExecutorOptions) -> None:
    """Run flows in this process. Raises BadConfiguration, Unavailable."""
    place = parse_place(options.log)

    @asynccontextmanager
    async def opened(settings: Settings, readiness: Readiness) -> AsyncIterator[Facts]:
        process = ProcessMetrics(lambda: readiness.ready)
        metrics = Metrics(router=None, executor=process.registry)
        admin = admin_of(options.admin, process, readiness)
        async with (
            serve_admin(admin) as admin_port,
            sharing(place, settings, metrics, readiness) as shared,
            following(shared, readiness),
            running_executor(shared),
        ):
            yield {
                "log": str(place),
                "admin": f"http://{with_port(options.admin, admin_port)}",
            }

    run_service("executor", opened)


@asynccontextmanager
async def running_executor(
    shared: Shared, listener: Listener | None = None
) -> AsyncIterator[None]:
    """Run flows while the block runs; drain at its end."""
    settings = shared.settings.executor
    async with GuardedClient(allow=shared.settings.egress.allow) as http:
        flows = Flows(shared.catalog, Resources(http), shared.secrets, shared.types)
        journals = Journals(
            shared.log, shared.topics, shared.metrics, listener, shared.bodies
        )
        attempts = Attempts(shared.metrics, gate=Gate(shared.catalog))
        executions = Executions(flows, attempts, shared.bodies)
        limits = Limits(
            settings.concurrent_executions,
            settings.unfinished_per_partition,
            settings.unfinished_bytes,
            checkpoint_records=settings.checkpoint_records,
            checkpoint_interval_s=settings.checkpoint_interval_s,
            dedupe_keys=settings.dedupe_keys,
            drain_s=settings.drain_s,
            handover_s=settings.handover_s,
            lane_events=settings.lane_events,
            park_after_s=settings.park_after_s,
        )
        executor = Executor(
            shared.log,
            shared.topics,
            executions,
            journals,
            shared.metrics,
            limits=limits,
            trims=_trims(shared),
        )
        attempts.gate.on_change = executor.wake
        async with executing(executor):
            yield


def _trims(shared: Shared) -> Trims:
    settings = shared.settings.retention
    retention = Retention(
        settings.events_s,
        settings.history_s,
        settings.dead_letters_s,
        settings.every_s,
    )
    return Trims(
        shared.log, shared.topics, retention, shared.metrics, bodies=shared.bodies
    )
