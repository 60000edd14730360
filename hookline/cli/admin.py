"""The admin port: /livez, /readyz, /version, /metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from aiohttp import web

from hookline.errors import BadConfiguration
from hookline.telemetry import METRICS_CONTENT_TYPE, Metrics


@dataclass(frozen=True, slots=True)
class Admin:
    """How the admin port is opened, and what it shows."""

    host: str
    port: int
    metrics: Metrics


@asynccontextmanager
async def serve_admin(admin: Admin) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port. Raises BadConfiguration."""
    runner = web.AppRunner(_application(admin.metrics), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, admin.host, admin.port)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            raise BadConfiguration(
                f"cannot listen on {admin.host}:{admin.port} for health and metrics: "
                f"{getattr(error, 'strerror', None) or error}. "
                "Stop what listens there, or choose another with --admin."
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _application(metrics: Metrics) -> web.Application:
    async def alive(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def tell_version(_request: web.Request) -> web.Response:
        return web.json_response({"version": version("hookline")})

    async def expose(_request: web.Request) -> web.Response:
        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": METRICS_CONTENT_TYPE}
        )

    application = web.Application()
    application.router.add_get("/livez", alive)
    # The port is opened after all that a request needs: who is answered is served.
    application.router.add_get("/readyz", alive)
    application.router.add_get("/version", tell_version)
    application.router.add_get("/metrics", expose)
    return application
