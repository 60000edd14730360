"""What the product says of itself: metrics of several processes, libraries' lines."""

import logging
from contextlib import suppress
from pathlib import Path

from hookline.metrics import EdgeMetrics, ProcessMetrics, joined
from hookline.telemetry import Sparing, Unfailing


def worker_metrics(answers: int) -> str:
    """The exposition of a worker that has given some answers."""
    process = ProcessMetrics(lambda: True)
    edge = EdgeMetrics(process.registry)
    for _ in range(answers):
        edge.answered(200)
    return process.exposition().decode()


def test_workers_metrics_are_joined_under_their_numbers() -> None:
    """Each family once, each worker's samples under its label."""
    own = ProcessMetrics(lambda: False).exposition().decode()
    workers = {"0": worker_metrics(2), "1": worker_metrics(3), "2": ""}

    lines = joined(own, "worker", workers).decode().splitlines()

    assert lines.count("# TYPE hookline_http_responses_total counter") == 1
    assert 'hookline_http_responses_total{status="200",worker="0"} 2.0' in lines
    assert 'hookline_http_responses_total{status="200",worker="1"} 3.0' in lines
    assert "hookline_ready 0.0" in lines
    assert 'hookline_ready{worker="1"} 1.0' in lines


def test_a_library_that_says_much_is_heard_once_a_second() -> None:
    """What is left out is counted; other libraries are heard all the same."""
    sparing = Sparing()

    def record(name: str) -> logging.LogRecord:
        return logging.LogRecord(name, logging.ERROR, "", 0, "no %s", ("luck",), None)

    written = [sparing.filter(record("kafka.net")) for _ in range(100)]

    assert written.count(True) <= 2
    assert written[0]
    assert sparing.filter(record("asyncio"))


def test_a_line_that_cannot_be_written_is_left_out() -> None:
    """Whoever says it goes on, also where the disk is full; a closed stream is no news."""
    with Path("/dev/full").open("w", buffering=1) as full:
        stream = Unfailing(full)
        print("no space", file=stream, flush=True)
        with suppress(OSError):
            full.close()
    print("closed", file=stream, flush=True)
