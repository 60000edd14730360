"""What holds for all tests."""

from hypothesis import settings

from tests.kafka_fixtures import kafka_of_three, kafka_servers, three_brokers
from tests.needs import pytest_configure, pytest_runtest_setup

__all__ = [
    "kafka_of_three",
    "kafka_servers",
    "pytest_configure",
    "pytest_runtest_setup",
    "three_brokers",
]

# A slow machine is no mistake.
settings.register_profile("hookline", deadline=None)
settings.load_profile("hookline")
