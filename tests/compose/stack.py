"""The whole line in containers, as the compose file has it, while a block lasts."""

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.compose.mirror import build_arguments
from tests.engine import Engine

PROJECT = "hookline-test"
RECEIVER = f"{PROJECT}-receiver"
SCRIPT = Path(__file__).parent / "receiver.py"
SERVICES = ("ingress", "router", "executor", "console")
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
# Docker's own pools of addresses: where the receiver is, seen from the executors.
BRIDGES = "172.16.0.0/12,192.168.0.0/16"
HEALTHY_S = 180.0


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the project, as the engine sees it now."""

    id: str
    service: str
    restarts: int
    state: Mapping[str, Any]
    ports: Mapping[str, Any]

    @property
    def health(self) -> str:
        """Empty, starting, healthy or unhealthy."""
        return str(self.state.get("Health", {}).get("Status", ""))

    def published(self, port: int) -> str:
        """HOST:PORT of a port's place on this machine."""
        place = self.ports[f"{port}/tcp"][0]
        return f"{place['HostIp']}:{place['HostPort']}"


@dataclass(frozen=True, slots=True)
class Stack:
    """The project: its containers, and the environment its compose file is read with."""

    engine: Engine
    environment: Mapping[str, str]
    file: Path

    @property
    def token(self) -> str:
        """For `hookline apply` and its like."""
        return self.environment["HOOKLINE_TOKEN"]

    def compose(self, *arguments: str) -> str:
        """Run Compose on the project. Raises CommandFailed."""
        return self.engine.compose(self.file, *arguments)

    def containers(self, *services: str) -> Sequence[Container]:
        """The containers of these services, ended ones too."""
        ids = self.compose("ps", "--all", "--quiet", *services).split()
        if not ids:
            return ()
        said = msgspec.json.decode(self.engine.docker("inspect", *ids))
        return [
            Container(
                each["Id"],
                each["Config"]["Labels"]["com.docker.compose.service"],
                each["RestartCount"],
                each["State"],
                each["NetworkSettings"]["Ports"],
            )
            for each in said
        ]

    def kill(self, container: Container) -> None:
        """End it at once, as a crash does, and for good."""
        self.engine.docker("kill", container.id)

    def wait_healthy(self) -> None:
        """Until every service says of itself that it is ready."""
        wait(self._all_healthy, HEALTHY_S, "the services do not become healthy")

    def received(self) -> Sequence[tuple[str, int]]:
        """What the receiver was sent, in that order: the flow and the event's number."""
        lines = self.engine.docker("logs", RECEIVER).splitlines()
        pairs = [line.split(" ", 1) for line in lines]
        return [(path[1:], msgspec.json.decode(body)["n"]) for path, body in pairs]

    def words(self) -> str:
        """What everybody has said last; for who asks why a test failed."""
        services = self.compose(
            "logs", "--no-color", "--tail", "40", *SERVICES, "topics"
        )
        brokers = self.compose("logs", "--no-color", "--tail", "5", *BROKERS)
        return "\n".join([self.compose("ps", "--all"), services, brokers])

    def _all_healthy(self) -> bool:
        found = self.containers(*SERVICES)
        for each in found:
            ended = not each.state["Running"] or each.state["Restarting"]
            assert not ended, f"{each.service} has ended: {each.state}"
        return bool(found) and all(each.health == "healthy" for each in found)


@contextmanager
def stack(engine: Engine, directory: Path, *scales: str) -> Iterator[Stack]:
    """Build the image, start the default profile at these scales; all of it is removed."""
    made = Stack(engine, _environment(), directory / "env")
    lines = [f"{name}={value}\n" for name, value in made.environment.items()]
    made.file.write_text("".join(lines))
    _clear(made)
    made.compose("build", *build_arguments(), "ingress")
    try:
        made.compose("up", "--detach", *(f"--scale={scale}" for scale in scales))
        _start_receiver(made)
        made.wait_healthy()
        yield made
    except BaseException:
        print(made.words())  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        _clear(made)


def wait(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
    """Ask again and again, for so many seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {timeout:.0f} s {otherwise}")
        time.sleep(0.5)


def _environment() -> dict[str, str]:
    """What somebody would write into .env."""
    return {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "COMPOSE_PROFILES": "default",
        "IMAGE": "hookline:test",
        "HOOKLINE_TOKEN": secrets.token_urlsafe(24),
        "HOOKLINE_INGRESS__ROUTER_TOKEN": secrets.token_urlsafe(24),
        "HOOKLINE_EGRESS__ALLOW": BRIDGES,
        "INGRESS_PORTS": f"127.0.0.1:{_free_range(20_000)}",
        "ROUTER_PORTS": f"127.0.0.1:{_free_range(21_000)}",
    }


def _free_range(start: int) -> str:
    """Four ports in a row that nobody has now: room for as many of a service."""
    for first in range(start, start + 1000, 4):
        if not any(map(_taken, range(first, first + 4))):
            return f"{first}-{first + 3}"
    raise RuntimeError(f"no four ports in a row are free from {start} on")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start_receiver(made: Stack) -> None:
    made.engine.docker(
        *("run", "--detach", "--name", RECEIVER, "--network", f"{PROJECT}_default"),
        *("--network-alias", "receiver", "--volume", f"{SCRIPT}:/receiver.py:ro"),
        *("--entrypoint", "python", made.environment["IMAGE"], "/receiver.py"),
    )


def _clear(made: Stack) -> None:
    """Remove all of it; of a run that was cut off, too."""
    made.engine.docker("rm", "--force", "--volumes", RECEIVER)
    made.compose("down", "--volumes", "--timeout", "5")
