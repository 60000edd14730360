"""An installation on either log whose process that runs events comes and goes."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.line import LOCAL, TOKENS, Service, line_on, up_in
from tests.brokers import kafka_cluster


@dataclass(frozen=True, slots=True)
class Instance:
    """It while events are run: the process that runs them, and where the others are."""

    runner: Service
    http: str
    router: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is while nothing runs; `running` runs events while its block runs."""

    name: str
    log: str
    environment: Mapping[str, str]
    running: Callable[[], AbstractContextManager[Instance]]


@contextmanager
def embedded(directory: Path, **settings: str) -> Iterator[Ground]:
    """`hookline up` on the flow files in a directory's `flows`."""
    settings = {"HOOKLINE_EGRESS__ALLOW": LOCAL, **TOKENS, **settings}

    @contextmanager
    def running() -> Iterator[Instance]:
        with up_in(directory, **settings) as up:
            yield Instance(up, up.http, up.said["grpc"])

    log = f"sqlite:{directory / 'data'}"
    yield Ground("up", log, {**os.environ, **settings}, running)


@contextmanager
def on_kafka(directory: Path, **settings: str) -> Iterator[Ground]:
    """Ingress and router on one broker; the executor comes and goes."""
    settings = {"HOOKLINE_EGRESS__ALLOW": LOCAL, **settings}
    with (
        kafka_cluster(directory / "kafka") as cluster,
        line_on(
            cluster.servers[0], directory / "flows", executor=False, **settings
        ) as line,
    ):

        @contextmanager
        def running() -> Iterator[Instance]:
            with line.running("executor") as executor:
                executor.wait_ready()
                edge, router = line.services["ingress"], line.services["router"]
                yield Instance(executor, edge.http, router.said["grpc"])

        log = line.environment["HOOKLINE_LOG"]
        yield Ground("Kafka", log, line.environment, running)


GROUNDS: Mapping[str, Callable[..., AbstractContextManager[Ground]]] = {
    "up": embedded,
    "kafka": on_kafka,
}
LOGS = "both if none is named"
