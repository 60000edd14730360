"""What the process of every service does: settings, telemetry, a loop, until SIGTERM.

Only here the environment is read for a service and signal handlers are installed. A stop
that comes while the service still opens cancels the opening; later it unwinds what is
open, within a limit.
"""

import asyncio
import faulthandler
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

import msgspec

from hookline import failpoints, telemetry
from hookline.cli.readiness import Readiness
from hookline.errors import Error
from hookline.settings import Settings

# Requests leave no cycles behind; looking for them every 700 objects is a waste.
GC_THRESHOLD = 20_000
# Docker and Kubernetes kill after 30 s where they are told to wait for so long.
STOP_LIMIT_S = 25.0
Facts = Mapping[str, Any]
Open = Callable[[Settings, Readiness], AbstractAsyncContextManager[Facts]]
Serve = Callable[[Settings, Readiness], Awaitable[None]]
logger = telemetry.get_logger(__name__)


def run_service(name: str, open_service: Open) -> None:
    """Open a service, say so in one JSON line, and serve until SIGTERM or SIGINT."""

    async def serve(settings: Settings, readiness: Readiness) -> None:
        async with open_service(settings, readiness) as facts:
            readiness.start()
            gc.freeze()  # what is there now stays
            _say({"started": True, "service": name, **facts})
            await readiness.wait_stop()
            logger.info("service.stopping", service=name)
        logger.info("service.stopped", service=name)

    run(serve)


def run(serve: Serve) -> None:
    """Serve until SIGTERM or SIGINT. Raises BadConfiguration, or what has ended it."""
    settings = Settings.read(os.environ)
    failpoints.arm(os.environ.get("HOOKLINE_FAILPOINTS", ""))
    telemetry.configure()
    gc.set_threshold(GC_THRESHOLD)
    loop = _uvloop()
    factory = loop.new_event_loop if loop else None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve_until_signal(serve, settings))
    except* Error as group:
        raise _first(group) from None
    finally:
        faulthandler.cancel_dump_traceback_later()


async def _serve_until_signal(serve: Serve, settings: Settings) -> None:
    readiness = Readiness()
    serving = asyncio.current_task()

    def stop() -> None:
        if readiness.stopping:
            return
        readiness.stop()
        # Who hangs in its stop is ended, and says where it hung.
        faulthandler.dump_traceback_later(STOP_LIMIT_S, exit=True)
        if serving is not None and not readiness.started:
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await serve(settings, readiness)
    except asyncio.CancelledError:
        if not readiness.stopping:
            raise


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _uvloop() -> ModuleType | None:
    try:
        import uvloop
    except ImportError:  # where it does not install
        return None
    return uvloop


def _say(facts: Facts) -> None:
    try:
        print(msgspec.json.encode(facts).decode(), flush=True)  # noqa: T201 - for programs
    except OSError:
        return  # nobody reads; the service goes on
