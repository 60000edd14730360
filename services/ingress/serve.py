"""Opens the public port and serves webhook URLs on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hookline.errors import BadConfiguration
from services.ingress.app import Ingress, Router
from services.ingress.connection import Server, server_options, sweeping

STOP_GRACE_S = 10.0
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Edge:
    """How the public port is opened, and how long senders may take."""

    host: str
    port: int
    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    body_floor_bytes_per_s: int = 1024


@asynccontextmanager
async def serve_http(edge: Edge, router: Router) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port. Raises BadConfiguration."""
    ingress = Ingress(
        router,
        body_timeout_s=edge.body_timeout_s,
        body_floor_bytes_per_s=edge.body_floor_bytes_per_s,
    )
    server = Server(ingress.receive, **server_options())
    listener = await _listen(edge, server)
    async with sweeping(server, edge.head_timeout_s):
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            server.pre_shutdown()
            await server.shutdown(STOP_GRACE_S)
            await listener.wait_closed()


async def _listen(edge: Edge, server: Server) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(server, edge.host, edge.port, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise BadConfiguration(
            f"cannot listen on {edge.host}:{edge.port} for webhooks: "
            f"{getattr(error, 'strerror', None) or error}. "
            "Stop what listens there, or choose another with --http."
        ) from error
