"""The Kafka that tests get: one broker for the session, or three that may be broken."""

import os
from collections.abc import Iterator

import pytest

from tests import jars
from tests.brokers import Cluster, kafka_cluster
from tests.needs import ensure


@pytest.fixture(scope="session")
def kafka_servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, ...]]:
    """HOST:PORT of a Kafka for all tests: leave it whole, and use names of your own.

    It is the one that `HOOKLINE_TEST_KAFKA` names (HOST:PORT, separated by commas), or
    one broker that is started for this session.
    """
    if given := os.environ.get("HOOKLINE_TEST_KAFKA"):
        yield tuple(given.split(","))
        return
    with kafka_cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster.servers


@pytest.fixture(scope="module")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started by the suite always: nobody else's Kafka is broken for a test."""
    ensure("kafka", jars.why_not())
    with kafka_cluster(tmp_path_factory.mktemp("kafka"), nodes=3) as cluster:
        yield cluster


@pytest.fixture
def kafka_of_three(three_brokers: Cluster) -> Cluster:
    """Three brokers that a test may kill, stop and freeze; whole when it begins."""
    three_brokers.heal()
    return three_brokers
