"""Connections of the public port: deadlines for heads, and refusals that are problems.

aiohttp has no deadline of its own for a head that arrives slowly, and answers broken
framing in plain text. Both are put right here; nothing else is.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from hookline.telemetry import get_logger
from hookline.v1 import event_pb2
from services.ingress.replies import problem

SWEEP_S = 1.0
# After a refusal in mid-body what still comes is read and dropped for so long: closed at
# once, the sender's system would throw away the answer that it has not read.
LINGER_S = 2.0
NO_ID = "0" * 32
logger = get_logger(__name__)


class Connection(web.RequestHandler):
    """One connection; knows since when a head is on its way."""

    head_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect the first head from now on."""
        super().connection_made(transport)
        self.head_since = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Notice whether the bytes complete a head or leave one unfinished."""
        super().data_received(data)
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.head_since = None
        elif self.head_since is None:
            self.head_since = self._loop.time()

    def close_if_idle(self) -> None:
        """End a connection that has no request; one with a request goes on being read.

        aiohttp's own way drops the rest of a body that is on its way.
        """
        if self._waiter is not None and not self._waiter.done():
            self.close()

    def close_if_overdue(self, oldest: float) -> None:
        """End a connection whose head was begun before a moment and is not complete."""
        transport = self.transport
        if self.head_since is None or self.head_since > oldest or transport is None:
            return
        if self._waiter is not None and not self._waiter.done():
            transport.write(
                b"HTTP/1.1 408 Request Timeout\r\n"
                b"Connection: close\r\nContent-Length: 0\r\n\r\n"
            )
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, or what went wrong in here."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status < 500:  # noqa: PLR2004 - the border of the sender's errors
            text = f"This is not a well-formed HTTP request: {_first_line(message)}"
            response = problem(event_pb2.REASON_MALFORMED, text, NO_ID)
        else:
            logger.error("request.failed", exc_info=exc)
            text = "Something went wrong here: send the request again later."
            response = problem(event_pb2.REASON_UNAVAILABLE, text, NO_ID)
            response.headers["Retry-After"] = "1"
        response.force_close()
        return response


def _first_line(message: str | None) -> str:
    return (message or "it cannot be parsed").strip().partition("\n")[0].rstrip(":")


class Server(web.Server):
    """aiohttp's low-level server, with connections of ours."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)


def close_idle(server: Server) -> None:
    """End the connections that have no request."""
    for connection in server.connections:
        if isinstance(connection, Connection):
            connection.close_if_idle()


@asynccontextmanager
async def sweeping(server: Server, head_timeout_s: float) -> AsyncIterator[None]:
    """End connections whose heads are overdue, while the block runs."""

    async def sweep() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(SWEEP_S, head_timeout_s / 4))
            oldest = loop.time() - head_timeout_s
            for connection in server.connections:
                if isinstance(connection, Connection):
                    connection.close_if_overdue(oldest)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()


def server_options() -> dict[str, Any]:
    """What aiohttp is told about connections."""
    return {
        "access_log": None,
        "auto_decompress": False,
        "keepalive_timeout": 75.0,
        "lingering_time": LINGER_S,
        "logger": logging.getLogger("aiohttp.server"),
    }
