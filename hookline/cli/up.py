"""hookline up: the whole straight line in one process, on an embedded log."""

import asyncio
import gc
import os
import signal
import sys
from types import ModuleType

from hookline import telemetry
from hookline.cli.banner import show_banner, show_changes
from hookline.cli.flow_directory import watch
from hookline.cli.hosting import Options, hosting
from hookline.cli.lines import EventLines
from hookline.errors import Error
from hookline.settings import Settings

# Requests leave no cycles behind; looking for them every 700 objects is a waste.
GC_THRESHOLD = 20_000


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises BadConfiguration, or what has ended it."""
    settings = Settings.read(os.environ)
    telemetry.configure()
    gc.set_threshold(GC_THRESHOLD)
    loop = _uvloop()
    factory = loop.new_event_loop if loop else None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(options, settings))
    except* Error as group:
        raise _first(group) from None


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


async def _serve(options: Options, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with EventLines(sys.stdout) as lines:
        async with hosting(options, settings, os.environ, lines.ended) as hosted:
            gc.freeze()  # what is there now stays
            show_banner(lines, hosted)
            async with watch(hosted.directory, lambda news: show_changes(lines, news)):
                await stop.wait()
            lines.say("stopping …")
