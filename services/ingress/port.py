"""The public port: makes its connections, and ends those that are overdue."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from services.ingress.connection import Connection
from services.ingress.pieces import MOST_HEAD_BYTES, MOST_HEADERS
from services.ingress.surroundings import Surroundings
from services.ingress.traffic import Handler

SWEEP_S: Final = 1.0
# A look at ten thousand connections takes milliseconds: they are looked at in parts.
PARTS: Final = 8
# The system keeps twice as much, for its own accounts.
MOST_UNSENT_BYTES: Final = 64 * 1024
# Who sends a body that is refused from its head mostly reads the answer after it: closed
# at once, it would see its connection break, and no answer.
LINGER_S: Final = 2.0


class Server(web.Server):
    """aiohttp's low-level server, with connections of ours."""

    def __init__(
        self,
        handler: Handler,
        surroundings: Surroundings,
        keepalive_timeout_s: float,
    ) -> None:
        super().__init__(handler, **server_options(keepalive_timeout_s))
        self._surroundings = surroundings

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self, self._surroundings, loop=self._loop, **self._kwargs)


def close_idle(server: Server) -> None:
    """End the connections that have no request."""
    for connection in server.connections:
        if isinstance(connection, Connection):
            connection.close_if_idle()


def server_options(keepalive_timeout_s: float) -> dict[str, Any]:
    """What aiohttp is told about connections."""
    return {
        "access_log": None,
        "auto_decompress": False,
        "keepalive_timeout": keepalive_timeout_s,
        "lingering_time": LINGER_S,
        "logger": logging.getLogger("aiohttp.server"),
        # Ours counts the whole head and comes first; these are for a line of it.
        "max_line_size": MOST_HEAD_BYTES,
        "max_field_size": MOST_HEAD_BYTES,
        "max_headers": MOST_HEADERS,
    }


def bound_answers(listener: socket.socket) -> None:
    """Bound what the system keeps of answers that nobody takes, on each connection.

    It would keep megabytes, and for so long nobody would see that they are not taken.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_UNSENT_BYTES)


@asynccontextmanager
async def sweeping(surroundings: Surroundings) -> AsyncIterator[None]:
    """End connections that are overdue, while the block runs."""

    async def sweep() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(SWEEP_S, surroundings.timeout_s / 4) / PARTS)
            surroundings.places.sweep(PARTS, loop.time())

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()
