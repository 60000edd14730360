"""What the product says of itself: structured lines on stderr, and metrics.

Lines are events in a context of keys and values, named `noun.past_participle`: JSON,
unless stderr is a terminal. Never a body or a secret.
"""

import logging
import sys
import time
from typing import Any

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST


def get_logger(name: str) -> Any:
    """A logger for a module; bound keys travel in its lines."""
    return structlog.get_logger(name)


def configure(*, verbose: bool = False) -> None:
    """Set logging up for a process, once, at its start."""
    terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer()
        if terminal
        else structlog.processors.JSONRenderer()
    )
    level = logging.DEBUG if verbose else logging.INFO
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks
            if not terminal
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # It writes access tokens at DEBUG.
    logging.getLogger("oauthlib").setLevel(logging.INFO)


class Sampled:
    """At most so many lines a second; those left out are counted in the next one."""

    def __init__(self, logger: Any, most_a_second: int = 10) -> None:
        self._logger = logger
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
        self._logger.info(event, **facts)


class Metrics:
    """The metrics of one process; children are bound here, once."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        requests = Counter(
            "hookline_requests",
            "Requests to webhook URLs and of PublishService, by verdict",
            ["verdict"],
            registry=self.registry,
        )
        self._requests = requests
        self.accepted = requests.labels("accepted")
        self.body_bytes = Counter(
            "hookline_accepted_bytes",
            "Bytes of the bodies of accepted requests",
            registry=self.registry,
        )
        executions = Counter(
            "hookline_executions",
            "Executions that have ended, by status",
            ["status"],
            registry=self.registry,
        )
        self.completed = executions.labels("completed")
        self.filtered = executions.labels("filtered")
        self.failed = executions.labels("failed")
        self.attempts_failed = Counter(
            "hookline_attempts_failed",
            "Attempts of steps that have failed",
            registry=self.registry,
        )
        self.unfinished = Gauge(
            "hookline_unfinished_events",
            "Events read from the log whose execution has not ended",
            registry=self.registry,
        )
        self.duration = Histogram(
            "hookline_accept_to_end_seconds",
            "From acceptance to the end of the execution",
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600),
            registry=self.registry,
        )

    def rejected(self, reason: str) -> None:
        """Count a refusal; `reason` is one of a closed set."""
        self._requests.labels(reason).inc()

    def exposition(self) -> bytes:
        """Everything in Prometheus' text form."""
        return generate_latest(self.registry)
