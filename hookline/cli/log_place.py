"""Where the log is, as `--log` names it, and how it is opened there.

The place that knows both kinds of log; who gets one opened knows the contract alone.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hookline.cli.addresses import address
from hookline.errors import BadConfiguration, Unavailable
from hookline.log import Log
from hookline.settings import Kafka, Settings
from hookline.telemetry import get_logger
from hookline.topics import Topics

if TYPE_CHECKING:
    from hookline.log.kafka import Cluster, Durability

EMBEDDED_PARTITIONS: Final = 8
KAFKA_PARTITIONS: Final = 24
PAUSE_S: Final = 1.0
# What has ended within the hand-over is committed before the partition goes.
COMMIT_S: Final = 1.0
FORMS: Final = "kafka://HOST:PORT,HOST:PORT or sqlite:DIRECTORY"
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Directory:
    """A log on this machine, of one process."""

    path: Path

    def __str__(self) -> str:
        return f"sqlite:{self.path}"


@dataclass(frozen=True, slots=True)
class Brokers:
    """A log on Kafka."""

    servers: tuple[str, ...]

    def __str__(self) -> str:
        return f"kafka://{','.join(self.servers)}"


Place = Directory | Brokers


def parse_place(text: str) -> Place:
    """Read `--log`. Raises BadConfiguration."""
    if not text:
        raise BadConfiguration(
            "there is no log: set --log (HOOKLINE_LOG) to kafka://HOST:PORT; several "
            "brokers are separated by commas"
        )
    kind, colon, rest = text.partition(":")
    if colon and kind == "sqlite" and rest:
        return Directory(Path(rest))
    if kind == "kafka" and rest.startswith("//"):
        return Brokers(_servers(rest.removeprefix("//").rstrip("/")))
    raise BadConfiguration(f"--log takes {FORMS}, not {text!r}")


def parse_brokers(text: str) -> Brokers:
    """Read `--log` where it must be Kafka. Raises BadConfiguration."""
    place = parse_place(text)
    if isinstance(place, Directory):
        raise BadConfiguration(
            f"{place} makes its topics itself; --log takes kafka://HOST:PORT here"
        )
    return place


def _servers(text: str) -> tuple[str, ...]:
    servers = tuple(part.strip() for part in text.split(",") if part.strip())
    if not servers:
        raise BadConfiguration(f"--log names no broker: it takes {FORMS}")
    for server in servers:
        address(server, "--log kafka://HOST:PORT,…: each part")
    return servers


def topics_of(place: Place, settings: Settings) -> Topics:
    """The topics, with the configured number of partitions or the kind's own."""
    usual = KAFKA_PARTITIONS if isinstance(place, Brokers) else EMBEDDED_PARTITIONS
    return Topics.with_partitions(settings.log.partitions or usual)


@asynccontextmanager
async def open_place(
    place: Place, topics: Topics, settings: Settings, tell: Callable[[str], None]
) -> AsyncIterator[Log]:
    """Open the log; wait for brokers that are away, within the start's deadline.

    `tell` hears what the start waits for. Raises BadConfiguration where waiting does not
    help, Unavailable where it was in vain.
    """
    deadline = time.monotonic() + settings.log.start_deadline_s
    tell(f"it waits for the log at {place}")
    async with AsyncExitStack() as stack:
        while True:
            try:
                log = await stack.enter_async_context(_opened(place, topics, settings))
                break
            except Unavailable as error:
                if time.monotonic() >= deadline:
                    raise
                logger.warning("log.awaited", place=str(place), error=str(error))
                tell(f"it waits for the log at {place}: {error}")
            await asyncio.sleep(PAUSE_S)
        yield log


def _opened(
    place: Place, topics: Topics, settings: Settings
) -> AbstractAsyncContextManager[Log]:
    log = settings.log
    if isinstance(place, Directory):
        from hookline.log import sqlite

        return sqlite.open_log(
            place.path,
            topics.all,
            append_deadline_s=log.append_deadline_s,
            most_pending_bytes=log.most_pending_bytes,
        )
    from hookline.log import kafka

    return kafka.open_log(
        cluster_of(place, settings.kafka),
        topics.all,
        durability=durability_of(settings.kafka),
        append_deadline_s=log.append_deadline_s,
        most_pending_bytes=log.most_pending_bytes,
        session_timeout_s=settings.kafka.session_timeout_s,
        drain_s=settings.executor.handover_s + COMMIT_S,
    )


def cluster_of(place: Brokers, settings: Kafka) -> "Cluster":
    """The brokers, with the way in."""
    from hookline.log.kafka import Cluster

    return Cluster(place.servers, settings.topic_prefix, access=access_of(settings))


def durability_of(settings: Kafka) -> "Durability":
    """How many replicas there must be."""
    from hookline.log.kafka import Durability

    return Durability(settings.replication, settings.min_insync)


def access_of(settings: Kafka) -> dict[str, str]:
    """How brokers are spoken to, in the words of their client; what is set only."""
    options = {
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": settings.sasl_password.get_secret_value(),
        "ssl_cafile": settings.ssl_ca_file,
        "ssl_certfile": settings.ssl_cert_file,
        "ssl_keyfile": settings.ssl_key_file,
    }
    return {name: value for name, value in options.items() if value}
