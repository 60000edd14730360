"""What router and executor share, alone or in one process: log, flows, secrets."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hookline.body_store import BodyStore, open_body_store
from hookline.catalog import Catalog
from hookline.cli.addresses import address
from hookline.cli.admin import Admin, readiness_answer
from hookline.cli.log_place import Place, open_place, topics_of
from hookline.cli.readiness import Readiness
from hookline.components import component_types
from hookline.components.steps import Types
from hookline.log import Log
from hookline.metrics import Metrics, ProcessMetrics
from hookline.secrets import Secrets
from hookline.settings import Settings
from hookline.topics import Topics

LOG_AWAY = "the log does not answer: see whether its brokers, or its disk, are well"
NOT_CAUGHT_UP = "the flows are still being read from the log"


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
    bodies: BodyStore | None = None


@asynccontextmanager
async def sharing(
    place: Place, settings: Settings, metrics: Metrics, readiness: Readiness
) -> AsyncIterator[Shared]:
    """Open the log, and put together what stands on it."""

    def tell(waits_for: str) -> None:
        readiness.start_waits_for = waits_for

    topics = topics_of(place, settings)
    async with open_place(place, topics, settings, tell) as log:
        yield Shared(
            settings,
            secrets_of(os.environ),
            topics,
            metrics,
            log,
            Catalog(log, topics),
            component_types(),
            body_store_of(settings),
        )


@asynccontextmanager
async def following(shared: Shared, readiness: Readiness) -> AsyncIterator[None]:
    """Follow the flows while the block runs; it begins when all that is there is read."""
    log = shared.log
    readiness.need("log", LOG_AWAY, lambda: log.healthy)
    readiness.start_waits_for = NOT_CAUGHT_UP
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(shared.catalog.run())
        await shared.catalog.wait_caught_up()
        try:
            yield
        finally:
            task.cancel()


def admin_of(place: str, metrics: ProcessMetrics, readiness: Readiness) -> Admin:
    """The admin port of one service, or of all in one process."""

    async def exposition() -> bytes:
        return metrics.exposition()

    host, port = address(place, "--admin")
    return Admin(host, port, lambda: readiness_answer(readiness), exposition)


def body_store_of(settings: Settings) -> BodyStore | None:
    """Where large bodies are kept; None where nothing is configured."""
    place = settings.bodies.store
    return open_body_store(place) if place else None


def secrets_of(environment: Mapping[str, str]) -> Secrets:
    """Where the secrets of flows are found."""
    directory = environment.get("HOOKLINE_SECRETS_DIR")
    return Secrets(environment, Path(directory) if directory else None)
