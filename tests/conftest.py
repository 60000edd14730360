"""What holds for all tests."""

from hypothesis import settings

from tests.faults.judging import pytest_terminal_summary
from tests.instance_on_kafka import kafka_log, open_instance
from tests.kafka_fixtures import kafka_of_three, kafka_servers, three_brokers
from tests.needs import pytest_configure, pytest_runtest_setup
from tests.stores import place, s3_server

__all__ = [
    "kafka_log",
    "kafka_of_three",
    "kafka_servers",
    "open_instance",
    "place",
    "pytest_configure",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
    "s3_server",
    "three_brokers",
]

# A slow machine is no mistake.
settings.register_profile("hookline", deadline=None)
settings.load_profile("hookline")
