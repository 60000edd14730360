"""The admin port: /livez, /readyz, /version, /metrics.

It is the first to open and the last to close, so that a start that waits, and a stop that
drains, can be told from a process that hangs.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from aiohttp import web

from hookline.cli.readiness import Readiness
from hookline.errors import BadConfiguration
from hookline.metrics import METRICS_CONTENT_TYPE

READY = 200
NOT_READY = 503
Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Admin:
    """How the admin port is opened, and what it shows."""

    host: str
    port: int
    readiness: Callable[[], Awaitable[Answer]]
    metrics: Callable[[], Awaitable[bytes]]


async def readiness_answer(readiness: Readiness) -> Answer:
    """What /readyz says of one service."""
    missing = readiness.missing()
    if missing:
        return NOT_READY, {"status": "not ready", "missing": missing}
    return READY, {"status": "ready"}


@asynccontextmanager
async def serve_admin(admin: Admin) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port. Raises BadConfiguration."""
    runner = web.AppRunner(_application(admin), access_log=None)
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


def _application(admin: Admin) -> web.Application:
    async def alive(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def tell_readiness(_request: web.Request) -> web.Response:
        status, answer = await admin.readiness()
        return web.json_response(answer, status=status)

    async def tell_version(_request: web.Request) -> web.Response:
        return web.json_response({"version": version("hookline")})

    async def expose(_request: web.Request) -> web.Response:
        return web.Response(
            body=await admin.metrics(), headers={"Content-Type": METRICS_CONTENT_TYPE}
        )

    application = web.Application()
    application.router.add_get("/livez", alive)
    application.router.add_get("/readyz", tell_readiness)
    application.router.add_get("/version", tell_version)
    application.router.add_get("/metrics", expose)
    return application
