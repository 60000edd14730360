"""Webhook callers that send at a rate, whatever becomes of what was sent before.

Each request takes an idle connection, or a new one: as many connections are open as
there are requests without an answer.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

TICK_S: Final = 0.01
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class _Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[int]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, request: bytes) -> int:
        """Send a request; gives the status of its answer. Raises ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._received = b""
            if not self._answer.done():
                self._answer.set_result(int(head.split(b" ", 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        self._transport.abort()


@dataclass(slots=True)
class Flood:
    """What was sent, and what came of it; `begun` is when an accepted one was sent."""

    address: str
    requests: Sequence[bytes]
    most_connections: int
    sent: int = 0
    unsent: int = 0
    lost: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    accepted_begun: float = 0.0
    connections: int = 0
    _idle: list[_Caller] = field(default_factory=list)
    _all: list[_Caller] = field(default_factory=list)

    async def run(self, a_second: float) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.TaskGroup() as tasks:
            while True:
                due = int((loop.time() - begun) * a_second) - self.sent - self.unsent
                for _ in range(due):
                    if not self._idle and self.connections >= self.most_connections:
                        self.unsent += 1
                        continue
                    request = self.requests[self.sent % len(self.requests)]
                    self.sent += 1
                    tasks.create_task(self._send(request))
                await asyncio.sleep(TICK_S)

    async def _send(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            caller = self._idle.pop() if self._idle else await self._connected()
            status = await caller.ask(request)
        except OSError:
            self.lost += 1
            return
        self._idle.append(caller)
        self.statuses[status] += 1
        self.slowest_s = max(self.slowest_s, loop.time() - begun)
        if status == 200:
            self.accepted_begun = max(self.accepted_begun, begun)

    async def _connected(self) -> _Caller:
        self.connections += 1
        host, _, port = self.address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(_Caller, host, int(port))
        self._all.append(caller)
        return caller

    def close(self) -> None:
        """End all connections."""
        for caller in self._all:
            caller.close()


@asynccontextmanager
async def flooding(
    address: str,
    requests: Sequence[bytes],
    a_second: float,
    most_connections: int = 16_000,
) -> AsyncIterator[Flood]:
    """Have requests sent, in turn and at a rate, while the block runs."""
    flood = Flood(address, requests, most_connections)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(flood.run(a_second))
        try:
            yield flood
        finally:
            running.cancel()
            flood.close()
