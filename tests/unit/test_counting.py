"""Counts of our own look like those of the metrics library, to the letter."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from hookline.counting import Counts, Durations, Total

BOUNDS = (0.001, 0.0025, 0.5, 1, 5)
SEEN = (0.0, 0.001, 0.0011, 0.3, 1.0, 5.1, -0.2)


def test_what_is_shown_is_what_the_library_would_show() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = Counts("ends", "Ends, by status", "status", registry=ours)
    total = Total("size", "Bytes", registry=ours)
    seconds = Durations("took", "How long", BOUNDS, registry=ours)
    counter = Counter("ends", "Ends, by status", ["status"], registry=theirs)
    sizes = Counter("size", "Bytes", registry=theirs)
    histogram = Histogram("took", "How long", buckets=BOUNDS, registry=theirs)

    for status, many in (("completed", 2), ('a "b"', 1), ("failed", 0)):
        counts.labels(status).inc(many)
        counter.labels(status).inc(many)
    counts.labels("completed").inc()
    counter.labels("completed").inc()
    total.inc(17)
    sizes.inc(17)
    for one in SEEN:
        seconds.observe(one)
        histogram.observe(one)

    assert generate_latest(ours) == generate_latest(theirs)


def test_without_a_registry_it_counts_and_shows_nothing() -> None:
    total = Total("size", "Bytes", registry=None)
    total.inc(2)
    assert total.value == 2
