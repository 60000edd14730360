"""The ingress alone in its process: the public port, and the way to routers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hookline.cli.addresses import address, with_port
from hookline.cli.admin import serve_admin
from hookline.cli.descriptors import room_for
from hookline.cli.process import Facts, run_service
from hookline.cli.readiness import Readiness
from hookline.cli.wiring import admin_of
from hookline.cli.worker import wait_orphaned
from hookline.errors import BadConfiguration
from hookline.metrics import EdgeMetrics, ProcessMetrics
from hookline.settings import Settings
from services.ingress.router_client import Routers, connecting
from services.ingress.serve import Edge, serve_http

INHERITED = "fd:"


@dataclass(frozen=True, slots=True)
class IngressOptions:
    """What the command line says; `http` may be a socket that is inherited, `fd:N`."""

    http: str
    router: str
    admin: str


def run_ingress(options: IngressOptions) -> None:
    """Serve the public port from this process. Raises BadConfiguration."""

    @asynccontextmanager
    async def opened(settings: Settings, readiness: Readiness) -> AsyncIterator[Facts]:
        routers = routers_of(options.router, settings)
        process = ProcessMetrics(lambda: readiness.ready)
        admin = admin_of(options.admin, process, readiness)
        edge = edge_of(options.http, settings)
        counted = EdgeMetrics(process.registry)
        async with (
            serve_admin(admin) as admin_port,
            connecting(routers) as client,
            serve_http(edge, client, counted) as port,
            _ending_with_its_parent(edge),
        ):
            counted.bytes_in_flight.set_function(lambda: client.bytes_in_flight)
            away = f"no router is connected at {options.router}"
            readiness.need("router", away, lambda: client.ready)
            yield {
                "http": f"http://{with_port(options.http, port)}",
                "router": options.router,
                "admin": f"http://{with_port(options.admin, admin_port)}",
            }

    run_service("ingress", opened)


def edge_of(place: str, settings: Settings) -> Edge:
    """The public port. Raises BadConfiguration."""
    ingress = settings.ingress
    descriptor = None
    if place.startswith(INHERITED) and place.removeprefix(INHERITED).isdecimal():
        host, port, descriptor = "", 0, int(place.removeprefix(INHERITED))
    else:
        host, port = address(place, "--http")
    return Edge(
        host,
        port,
        head_timeout_s=ingress.head_timeout_s,
        body_timeout_s=ingress.body_timeout_s,
        body_floor_bytes_per_s=ingress.body_floor_bytes_per_s,
        keepalive_timeout_s=ingress.keepalive_timeout_s,
        most_connections=room_for(ingress.most_connections),
        most_connections_per_address=ingress.most_connections_per_address,
        trusted_proxies=ingress.trusted_proxies,
        forwarded_header=ingress.forwarded_header.encode(),
        descriptor=descriptor,
    )


def routers_of(target: str, settings: Settings) -> Routers:
    """Where routers are, and what the ingress shows them. Raises BadConfiguration."""
    address(target, "--router")
    ingress = settings.ingress
    token = ingress.router_token.get_secret_value()
    if not token:
        raise BadConfiguration(
            "set HOOKLINE_INGRESS__ROUTER_TOKEN to one of the tokens that the router has "
            "in HOOKLINE_ROUTER__EDGE_TOKENS: only with it webhooks may be handed in"
        )
    return Routers(
        target,
        token,
        deadline_s=ingress.deadline_s,
        most_bytes_in_flight=ingress.most_bytes_in_flight,
    )


@asynccontextmanager
async def _ending_with_its_parent(edge: Edge) -> AsyncIterator[None]:
    """Stop when the parent whose socket this is has gone: nobody would stop us."""
    if edge.descriptor is None:
        yield
        return

    async def watch() -> None:
        await wait_orphaned()
        os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
