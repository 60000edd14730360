"""The line on a real broker, each service a process of its own, with flows applied."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from benchmarks.load import free_port, started

READY_S = 30.0
HOOKLINE = str(Path(sys.executable).parent / "hookline")
FLOW = """
id: flow-{number}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - id: greet
    use: transform
    with: {{body: {{greeting: "='Hello, ' & body.name & '!'"}}}}
"""
CALL = """  - id: call
    use: http.request
    with: {{url: "http://%s/"}}
"""
# How many executions have ended, in the words of the metrics.
ENDED = "hookline_executions_total"
# Where steps may go in a benchmark.
LOCAL = "127.0.0.0/8"
TOKENS = {
    "HOOKLINE_ROUTER__TOKENS": "inner",
    "HOOKLINE_ROUTER__EDGE_TOKENS": "edge",
    "HOOKLINE_INGRESS__ROUTER_TOKEN": "edge",
    "HOOKLINE_TOKEN": "inner",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the line, and what it has said when it was ready."""

    pid: int
    said: Mapping[str, str]

    @property
    def http(self) -> str:
        """HOST:PORT."""
        return self.said["http"].removeprefix("http://")

    def metric(self, name: str) -> float:
        """The sum of a metric's samples; `name` may end within the labels."""
        with urlopen(f"{self.said['admin']}/metrics") as answer:  # noqa: S310 - ours
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)
        )

    def wait_ready(self) -> None:
        """Until it can do its work, as an ingress that has found its router."""
        deadline = time.monotonic() + READY_S
        while self.metric("hookline_ready") < 1:
            if time.monotonic() > deadline:
                sys.exit(f"not ready within {READY_S:g} s: {dict(self.said)}")
            time.sleep(0.05)


@contextmanager
def up_in(directory: Path, **settings: str) -> Iterator[Service]:
    """`hookline up` on the flows and the data of a directory, on ports of its own."""
    http, grpc, admin = (f"127.0.0.1:{free_port()}" for _ in range(3))
    command = [
        *(HOOKLINE, "up", "--data", str(directory / "data")),
        *("--flows", str(directory / "flows")),
        *("--http", http, "--grpc", grpc, "--admin", admin),
    ]
    with started(command, {**os.environ, **settings}) as (pid, _):
        said = {"http": f"http://{http}", "grpc": grpc, "admin": f"http://{admin}"}
        service = Service(pid, said)
        service.wait_ready()
        yield service


@dataclass(slots=True)
class Line:
    """Its services by name."""

    environment: Mapping[str, str]
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def processes(self) -> dict[str, int]:
        return {name: service.pid for name, service in self.services.items()}

    @contextmanager
    def running(self, name: str, *arguments: str) -> Iterator[Service]:
        """Run a service while the block runs."""
        command = [HOOKLINE, name, "--admin", "127.0.0.1:0", *arguments]
        with started(command, self.environment) as (pid, said):
            self.services[name] = Service(pid, json.loads(said))
            yield self.services[name]


def paths(flows: int) -> list[str]:
    """Webhook URLs of the flows."""
    return [f"/hook/flow-{number}" for number in range(flows)]


@contextmanager
def line_on(
    server: str, directory: Path, *, executor: bool, **settings: str
) -> Iterator[Line]:
    """Ingress, router and perhaps an executor on one broker, with a directory's flows."""
    environment = {
        **os.environ,
        **TOKENS,
        "HOOKLINE_LOG": f"kafka://{server}",
        "HOOKLINE_KAFKA__TOPIC_PREFIX": f"{uuid.uuid4().hex}.",
        "HOOKLINE_KAFKA__REPLICATION": "1",
        "HOOKLINE_KAFKA__MIN_INSYNC": "1",
        **settings,
    }
    run(environment, "topics", "create")
    line = Line(environment)
    with ExitStack() as stack:
        router = stack.enter_context(line.running("router", "--grpc", "127.0.0.1:0"))
        to_router = ("--router", router.said["grpc"])
        run(environment, "apply", "-f", str(directory), *to_router)
        stack.enter_context(
            line.running("ingress", "--http", "127.0.0.1:0", *to_router)
        )
        if executor:
            stack.enter_context(line.running("executor"))
        for service in line.services.values():
            service.wait_ready()
        yield line


def write_flows(
    directory: Path, flows: int, flow: str = FLOW, name: str = "flow"
) -> None:
    """A file a flow, numbered from 0."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(flows):
        (directory / f"{name}-{number}.yaml").write_text(flow.format(number=number))


def run(environment: Mapping[str, str], *arguments: str) -> None:
    """Run a command of the product that must succeed."""
    done = subprocess.run(
        [HOOKLINE, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"hookline {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
