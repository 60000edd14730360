"""What a row of the table of failures says of a log."""

from typing import NamedTuple


class Held(NamedTuple):
    """A test holds it, by its node id."""

    test: str


class NotThere(NamedTuple):
    """It does not apply, and why."""

    why: str


def faults(test: str) -> Held:
    """A test of `tests/faults`."""
    return Held(f"tests/faults/{test}")


def kafka(test: str) -> Held:
    """A test of the log on Kafka itself."""
    return Held(f"tests/kafka/test_kafka_log.py::{test}")
