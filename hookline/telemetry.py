"""What the product says of itself: structured lines on stderr.

Lines are events in a context of keys and values, named `noun.past_participle`: JSON,
unless stderr is a terminal. Never a body or a secret.
"""

import io
import logging
import sys
import time
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog


def get_logger(name: str) -> Any:
    """A logger for a module; bound keys travel in its lines."""
    return structlog.get_logger(name)


def configure(*, verbose: bool = False) -> None:
    """Set logging up for a process, once, at its start."""
    terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    level = logging.DEBUG if verbose else logging.INFO
    shared = _processors(terminal=terminal)
    # It has what a logger asks of a stream, and no more.
    stderr = cast("TextIO", Unfailing(sys.stderr))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say comes in the same form.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    handler.addFilter(Sparing())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # It writes access tokens at DEBUG.
    logging.getLogger("oauthlib").setLevel(logging.INFO)


class Unfailing(io.TextIOBase):
    """A stream whose lines are left out while they cannot be written.

    Lines often go to the disk that the log is on: when it is full, no line of that may
    end the thread that says so.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Send it off, where that works."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def _processors(*, terminal: bool) -> list[Any]:
    """What is made of a line before it is written."""
    known = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if terminal:
        return [*known, structlog.processors.StackInfoRenderer(), printable]
    # Without the values of variables: they hold bodies, headers and secrets.
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [*known, structlog.processors.ExceptionRenderer(transform)]


def printable(_logger: Any, _method: str, line: Any) -> Any:
    """Escape what would move a terminal's cursor; JSON escapes it by itself."""
    for key, value in line.items():
        if isinstance(value, str) and key != "stack" and not value.isprintable():
            line[key] = "".join(
                one if one.isprintable() else repr(one)[1:-1] for one in value
            )
    return line


class Sparing(logging.Filter):
    """One line a second of each library; they say much while a peer is away."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; those left out are counted in the next one."""
        library = record.name.partition(".")[0]
        now = time.monotonic()
        if now < self._next_at.get(library, now):
            self._left_out[library] = self._left_out.get(library, 0) + 1
            return False
        self._next_at[library] = now + 1.0
        if left_out := self._left_out.pop(library, 0):
            record.msg = f"{record.getMessage()} ({left_out} more lines left out)"
            record.args = ()
        return True


def silence_libraries() -> None:
    """Have libraries say nothing: a command tells in a sentence what went wrong."""
    logging.basicConfig(level=logging.CRITICAL, handlers=[logging.NullHandler()])


class Sampled:
    """At most so many lines a second; those left out are counted in the next one."""

    def __init__(
        self, logger: Any, most_a_second: int = 10, level: str = "info"
    ) -> None:
        self._write = getattr(logger, level)
        self._most = most_a_second
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def line(self, event: str, **facts: Any) -> None:
        """Write a line, or count it."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= self._most:
            self._left_out += 1
            return
        self._lines += 1
        if self._left_out:
            facts["left_out"], self._left_out = self._left_out, 0
        self._write(event, **facts)
