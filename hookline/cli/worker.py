"""One worker process: started, asked by its parent, and ended with it."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hookline.errors import StepError
from hookline.http_client import HttpClient, OutgoingRequest

STOP_S: Final = 22.0
ASK_TIMEOUT_S: Final = 2.0
AWAY: Final = {"worker": "it is not running: it is being started"}


class Worker:
    """A process of the same command; its admin port is for its parent alone."""

    def __init__(self, number: int, command: Sequence[str], descriptor: int) -> None:
        self.number = number
        self.exit_code = 0
        self.restarts = 0
        self._command = (*command, "--admin", "127.0.0.1:0")
        self._descriptor = descriptor
        self._admin = ""
        self._started = asyncio.Event()

    async def live(self) -> int:
        """Run a process until it ends; gives its exit code. Cancelling it ends it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hookline.cli", *self._command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[self._descriptor],
        )
        try:
            await self._hear(process)
            await process.wait()
        finally:
            self._admin = ""
            await _end(process)
            self.exit_code = process.returncode or 0
        return self.exit_code

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        if line := await process.stdout.readline():
            self._admin = msgspec.json.decode(line)["admin"]
            self._started.set()

    async def wait_started(self) -> None:
        """Return when it is up for the first time."""
        await self._started.wait()

    async def missing(self, client: HttpClient) -> Mapping[str, str]:
        """What it needs to do its work; nothing where it is ready."""
        body = await self._ask(client, "/readyz")
        if body is None:
            return AWAY
        answer: dict[str, Any] = msgspec.json.decode(body)
        missing: dict[str, str] = answer.get("missing", {})
        return missing

    async def metrics(self, client: HttpClient) -> bytes:
        """Its metrics; none while it is not running."""
        return await self._ask(client, "/metrics") or b""

    async def _ask(self, client: HttpClient, path: str) -> bytes | None:
        if not self._admin:
            return None
        request = OutgoingRequest("GET", self._admin + path, timeout_s=ASK_TIMEOUT_S)
        try:
            return (await client.send(request)).body
        except StepError:
            return None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to stop; end it where it does not in time."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def wait_orphaned(look_s: float = 1.0) -> None:
    """Return when the parent has gone; a worker ends then, too."""
    parent = os.getppid()
    while True:
        await asyncio.sleep(look_s)
        if os.getppid() != parent:
            return
