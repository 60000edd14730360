"""A Docker engine for the tests: the one that answers, else one that they start and stop.

Their own keeps its images in `.docker` between runs. By hand: `make docker` installs what
it needs on Debian, as root, and makes its images.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import jars
from tests.compose.images import make_images

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".docker"
PIDFILE = KEPT / "docker.pid"
# Sockets are here: their paths have to be short, whatever the checkout's is.
RUN = Path("/run") / f"hookline-docker-{hashlib.sha256(bytes(ROOT)).hexdigest()[:8]}"
PROGRAMS = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
}
START_S = 60.0
STOP_S = 60.0


class CommandFailed(Exception):
    """A command of Docker's has ended with a failure; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Where an engine answers, as the environment that its clients want."""

    environment: Mapping[str, str]

    def docker(self, *arguments: str) -> str:
        """Run `docker`; gives what it prints. Raises CommandFailed."""
        return self.run(["docker", *arguments])

    def compose(self, environment: Path, *arguments: str) -> str:
        """Run Compose on the project's file with this .env. Raises CommandFailed."""
        words = ["--env-file", str(environment), *arguments]
        return self.run([*compose_command(), *words])

    def run(self, command: list[str]) -> str:
        """Run a client of the engine. Raises CommandFailed."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            raise CommandFailed(f"{' '.join(command)}: {done.returncode}\n{said}")
        return done.stdout


FOUND = Engine({})
# The classic builder: Debian's package has no other.
OWN = Engine({"DOCKER_HOST": f"unix://{RUN}/docker.sock", "DOCKER_BUILDKIT": "0"})


@cache
def compose_command() -> tuple[str, ...]:
    """Compose v2 where it is installed, else 1.29."""
    asked = subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    )
    return ("docker-compose",) if asked.returncode else ("docker", "compose")


@cache
def why_not() -> str | None:
    """None where an engine answers or can be started, else what is missing, and how."""
    missing = [] if _answers(FOUND) else _missing_programs()
    if not shutil.which("docker") or not shutil.which(compose_command()[0]):
        missing.append("docker-compose")
    if missing:
        return (
            f"No Docker engine answers, and there is no {', '.join(missing)} to start one "
            "with: start yours, or on Debian, as root: make docker"
        )
    if _answers(FOUND):
        return None
    if os.geteuid() != 0:
        return "No Docker engine answers, and only root can start one: start yours"
    return jars.why_not()


@contextmanager
def engine() -> Iterator[Engine]:
    """Give an engine that has the images, and end it afterwards if it was started here."""
    if sentence := why_not():
        raise RuntimeError(sentence)
    if _answers(FOUND):
        yield FOUND
        return
    jars.provide()
    with _daemon():
        make_images(OWN.docker, KEPT)
        # What builds of other days have left.
        OWN.docker("image", "prune", "--force", "--filter", "until=48h")
        yield OWN


def install() -> None:
    """Install what an engine of the tests' own needs, from Debian's packages."""
    if why_not() is None or _answers(FOUND):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"{why_not()}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = [*PROGRAMS.values(), "docker-compose"]
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        command = ["apt-get", "-qq", *words]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    why_not.cache_clear()
    compose_command.cache_clear()


def _missing_programs() -> list[str]:
    return [
        package for program, package in PROGRAMS.items() if not shutil.which(program)
    ]


def _answers(engine: Engine) -> bool:
    if not shutil.which("docker"):
        return False
    try:
        engine.docker("version")
    except CommandFailed:
        return False
    return True


@contextmanager
def _daemon() -> Iterator[None]:
    """Run a daemon of our own while the block runs."""
    _end_leftover()
    for directory in (KEPT, RUN):
        directory.mkdir(mode=0o700, exist_ok=True)
    with (KEPT / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                *("dockerd", "--host", OWN.environment["DOCKER_HOST"]),
                *("--data-root", f"{KEPT}/root", "--exec-root", f"{RUN}/exec"),
                *("--pidfile", str(PIDFILE)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupted run still needs it to clean up
        )
    try:
        _wait_started(daemon)
        yield
    finally:
        daemon.terminate()
        daemon.wait(STOP_S)


def _wait_started(daemon: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and daemon.poll() is None:
        if _answers(OWN):
            return
        time.sleep(0.1)
    lines = (KEPT / "dockerd.log").read_text(errors="replace").splitlines()
    raise RuntimeError("\n".join(["dockerd does not start:", *lines[-20:]]))


def _end_leftover() -> None:
    """End the daemon of a run that was cut off; its directory is in its command line."""
    if not PIDFILE.exists():
        return
    pid = int(PIDFILE.read_text())
    end = time.monotonic() + STOP_S
    while str(KEPT) in _command_line(pid) and time.monotonic() < end:
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)


def _command_line(pid: int) -> str:
    """Empty where there is no such process; of one that has ended, too."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    install()
    with engine() as ready:
        print(ready.docker("image", "ls"))  # noqa: T201 - what has been made
