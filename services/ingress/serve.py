"""Opens the public port and serves webhook URLs on it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hookline.errors import BadConfiguration
from hookline.metrics import EdgeMetrics
from services.ingress.app import Ingress, Router
from services.ingress.places import Places
from services.ingress.port import Server, bound_answers, close_idle, sweeping
from services.ingress.senders import FORWARDED_FOR, Network, Senders
from services.ingress.surroundings import Surroundings
from services.ingress.traffic import Traffic

STOP_GRACE_S = 10.0
WRITE_S = 2.0
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Edge:
    """How the public port is opened, how long senders may take, and how many come."""

    host: str
    port: int
    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    body_floor_bytes_per_s: int = 1024
    keepalive_timeout_s: float = 75.0
    most_connections: int = 10_000
    most_connections_per_address: int = 1000
    trusted_proxies: tuple[Network, ...] = ()
    forwarded_header: bytes = FORWARDED_FOR
    # A socket that listens already, as a worker gets it from its parent.
    descriptor: int | None = None

    @property
    def place(self) -> str:
        """As the command line names it."""
        if self.descriptor is not None:
            return f"fd:{self.descriptor}"
        return f"{self.host}:{self.port}"


@asynccontextmanager
async def serve_http(
    edge: Edge, router: Router, metrics: EdgeMetrics | None = None
) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port. Raises BadConfiguration.

    At its end nothing new is taken, and what was taken is answered within a limit.
    """
    ingress = Ingress(
        router,
        body_timeout_s=edge.body_timeout_s,
        body_floor_bytes_per_s=edge.body_floor_bytes_per_s,
    )
    metrics = metrics or EdgeMetrics(None)
    traffic = Traffic(ingress.receive, metrics)
    surroundings = _surroundings(edge, metrics)
    server = Server(traffic.receive, surroundings, edge.keepalive_timeout_s)
    listener = await _listen(edge, server)
    async with sweeping(surroundings):
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            close_idle(server)
            await traffic.wait_ended(STOP_GRACE_S)
            await server.shutdown(WRITE_S)
            await listener.wait_closed()


def _surroundings(edge: Edge, metrics: EdgeMetrics) -> Surroundings:
    places = Places(
        edge.most_connections,
        edge.most_connections_per_address,
        metrics.connection_refused,
    )
    metrics.connections.set_function(lambda: len(places))
    senders = Senders(edge.trusted_proxies, edge.forwarded_header)
    return Surroundings(places, senders, metrics, edge.head_timeout_s)


async def _listen(edge: Edge, server: Server) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        if edge.descriptor is not None:
            inherited = socket.socket(fileno=edge.descriptor)
            listener = await loop.create_server(server, sock=inherited, backlog=BACKLOG)
        else:
            listener = await loop.create_server(
                server, edge.host, edge.port, backlog=BACKLOG
            )
    except (OSError, OverflowError) as error:
        raise cannot_listen(edge.place, error) from error
    for one in listener.sockets:
        bound_answers(one)
    return listener


def cannot_listen(place: str, error: Exception) -> BadConfiguration:
    """What to say where the public port cannot be had."""
    return BadConfiguration(
        f"cannot listen on {place} for webhooks: "
        f"{getattr(error, 'strerror', None) or error}. "
        "Stop what listens there, or choose another with --http."
    )
