"""hookline up: the whole straight line in one process, on an embedded log."""

import gc
import os
import sys

from hookline.cli.banner import show_banner, show_changes
from hookline.cli.flow_directory import watch
from hookline.cli.hosting import Options, hosting
from hookline.cli.lines import EventLines
from hookline.cli.process import run as run_process
from hookline.cli.readiness import Readiness
from hookline.settings import Settings


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises BadConfiguration, or what has ended it."""

    async def serve(settings: Settings, readiness: Readiness) -> None:
        with EventLines(sys.stdout) as lines:
            async with hosting(
                options, settings, os.environ, lines.ended, readiness
            ) as hosted:
                readiness.start()
                gc.freeze()  # what is there now stays
                show_banner(lines, hosted)
                async with watch(
                    hosted.directory, lambda news: show_changes(lines, news)
                ):
                    await readiness.wait_stop()
                lines.say("stopping …")

    run_process(serve)
