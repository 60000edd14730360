"""Starts the product as a user does, in processes of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.caller import call
from tests.waiting import until_asked

HOOKLINE = str(Path(sys.executable).parent / "hookline")


class EndedAtOnceError(AssertionError):
    """A process has ended before it said that it had started."""


@dataclass(slots=True)
class Service:
    """A running `hookline up`, or one of its services."""

    process: asyncio.subprocess.Process
    started: dict[str, Any]
    lines: asyncio.Queue[bytes]

    @property
    def http(self) -> str:
        """HOST:PORT of the public port."""
        return str(self.started["http"]).removeprefix("http://")

    @property
    def grpc(self) -> str:
        """HOST:PORT for internal services."""
        return str(self.started["grpc"])

    @property
    def admin(self) -> str:
        """HOST:PORT for health and metrics."""
        return str(self.started["admin"]).removeprefix("http://")

    async def missing(self) -> dict[str, str]:
        """What it needs to do its work, as /readyz says; nothing when it is ready."""
        answer = await call(self.admin, "GET", "/readyz")
        missing: dict[str, str] = answer.json.get("missing", {})
        assert (answer.status == 200) is not bool(missing), answer
        return missing

    async def wait_ready(self) -> None:
        """Return when it can do its work."""

        async def ready() -> bool:
            return not await self.missing()

        await until_asked(ready)

    async def wait_missing(self, name: str) -> None:
        """Return when it lacks something, or is stopping (`service`)."""

        async def lacks() -> bool:
            return name in await self.missing()

        await until_asked(lacks)

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples; `name` may end within the labels."""
        text = (await call(self.admin, "GET", "/metrics")).body.decode()
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def wait_metric(self, name: str, wanted: float) -> None:
        """Return when a metric has come to a value."""

        async def reached() -> bool:
            return await self.metric(name) >= wanted

        await until_asked(reached)

    async def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def line(self) -> dict[str, Any]:
        """The next line it prints."""
        line: dict[str, Any] = msgspec.json.decode(await self.lines.get())
        return line


def up(
    data: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> AbstractAsyncContextManager[Service]:
    """Run `hookline up` on free ports; it is killed at the end if it still runs."""
    return service(
        *("up", "--data", str(data), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"),
        *arguments,
        environment=environment,
        wrapper=wrapper,
    )


@asynccontextmanager
async def service(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> AsyncIterator[Service]:
    """Run a service, its admin port on a free one; it is killed if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(*wrapper, HOOKLINE, *arguments[:1], "--admin", "127.0.0.1:0"),
        *arguments[1:],
        env={
            **os.environ,
            "HOOKLINE_EGRESS__ALLOW": "127.0.0.0/8",
            **(environment or {}),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    # All of it is read, always: a pipe that is full of what nobody reads would hide the
    # end of its process from asyncio.
    reading = asyncio.ensure_future(_pump(process.stdout, lines))
    try:
        first = await lines.get()
        if not first:
            raise EndedAtOnceError(f"it ended with {await process.wait()}")
        yield Service(process, msgspec.json.decode(first), lines)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def _pump(out: asyncio.StreamReader, lines: asyncio.Queue[bytes]) -> None:
    """Pass lines on; an empty one at the end."""
    async for line in out:
        lines.put_nowait(line)
    lines.put_nowait(b"")


async def run(
    *arguments: str, environment: Mapping[str, str] | None = None, stdin: bytes = b""
) -> tuple[int, str, str]:
    """Run a command of the product; gives exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        HOOKLINE,
        *arguments,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    return process.returncode or 0, out.decode(), err.decode()
