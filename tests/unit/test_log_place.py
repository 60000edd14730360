"""`--log`: the two kinds of log, and what each is opened with."""

from pathlib import Path

import pytest

from hookline.cli.log_place import (
    Brokers,
    Directory,
    access_of,
    cluster_of,
    parse_brokers,
    parse_place,
    topics_of,
)
from hookline.errors import BadConfiguration
from hookline.settings import Settings


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("sqlite:data/log", Directory(Path("data/log"))),
        ("kafka://one:9092", Brokers(("one:9092",))),
        ("kafka://one:9092, [::1]:9093/", Brokers(("one:9092", "[::1]:9093"))),
    ],
)
def test_a_log_is_named_by_its_place(text: str, place: Directory | Brokers) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text", ["", "kafka:one:9092", "kafka://", "kafka://one", "sqlite:", "file", "a:b"]
)
def test_a_place_that_is_none_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"kafka://HOST:PORT"):
        parse_place(text)


def test_topics_are_made_on_brokers_only() -> None:
    with pytest.raises(BadConfiguration, match="sqlite:data"):
        parse_brokers("sqlite:data")


def test_each_kind_has_its_own_number_of_partitions() -> None:
    """What is configured counts for both."""
    usual = Settings.read({})
    configured = Settings.read({"HOOKLINE_LOG__PARTITIONS": "3"})
    places = (Directory(Path("x")), Brokers(("one:1",)))

    assert [topics_of(p, usual).events.partitions for p in places] == [8, 24]
    assert [topics_of(p, configured).events.partitions for p in places] == [3, 3]


def test_brokers_are_spoken_to_as_configured() -> None:
    """In the words of their client; what is not set is left to it."""
    kafka = Settings.read(
        {
            "HOOKLINE_KAFKA__TOPIC_PREFIX": "test.",
            "HOOKLINE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "HOOKLINE_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "HOOKLINE_KAFKA__SASL_USERNAME": "hookline",
            "HOOKLINE_KAFKA__SASL_PASSWORD": "hunter2",
            "HOOKLINE_KAFKA__SSL_CA_FILE": "/ca.pem",
        }
    ).kafka

    assert cluster_of(Brokers(("one:1",)), kafka).name_of("events") == "test.events"
    assert access_of(kafka) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "hookline",
        "sasl_plain_password": "hunter2",
        "ssl_cafile": "/ca.pem",
    }
