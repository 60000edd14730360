"""The tests' own Kafka: its faults are faults, and it comes back with what it had."""

import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import (  # noqa: TID251 - the brokers are asked without Hookline in between
    KafkaConsumer,
    KafkaProducer,
    TopicPartition,
)
from kafka.admin import KafkaAdminClient  # noqa: TID251 - the same
from kafka.errors import KafkaError  # noqa: TID251 - the same

from tests.brokers import Broker, Cluster, kafka_cluster, leader_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def new_topic(servers: Iterable[str]) -> str:
    """A topic with one partition."""
    name = f"test-{uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=list(servers))
    try:
        admin.create_topics({name: {"num_partitions": 1}}, wait_for_metadata=True)
    finally:
        admin.close()
    return name


@contextmanager
def producing(servers: Iterable[str], patience_s: int = 30) -> Iterator[KafkaProducer]:
    """A producer; when it has none left, a record has failed."""
    producer = KafkaProducer(
        bootstrap_servers=list(servers),
        acks="all",
        enable_idempotence=False,
        request_timeout_ms=1_000,
        delivery_timeout_ms=1_000 * patience_s,
        reconnect_backoff_max_ms=200,
    )
    try:
        yield producer
    finally:
        producer.close(1)


def append(servers: Iterable[str], topic: str, value: bytes) -> None:
    """Append a record; returns when all replicas in sync have it."""
    with producing(servers) as producer:
        producer.send(topic, value, partition=0).get(30)


def first_value(servers: Iterable[str], topic: str) -> bytes:
    """The first record of the topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=list(servers), consumer_timeout_ms=30_000
    )
    try:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek_to_beginning()
        value: bytes = next(consumer).value
    finally:
        consumer.close()
    return value


def test_a_killed_broker_comes_back_with_its_records(tmp_path: Path) -> None:
    """On the same port, with the same data."""
    with kafka_cluster(tmp_path) as cluster:
        topic = new_topic(cluster.servers)
        append(cluster.servers, topic, b"kept")
        cluster.brokers[0].kill()
        gone = not cluster.brokers[0].running
        cluster.brokers[0].start()
        cluster.wait_ready()

        assert gone
        assert first_value(cluster.servers, topic) == b"kept"


def test_brokers_have_ended_after_the_block(tmp_path: Path) -> None:
    """Also where it raised, and one was frozen."""
    brokers: list[Broker] = []

    def break_off() -> None:
        with kafka_cluster(tmp_path) as cluster:
            brokers.extend(cluster.brokers)
            cluster.brokers[0].freeze()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()

    assert [broker.running for broker in brokers] == [False]


def test_brokers_by_hand_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """It prints where they are, and takes them along when it is asked to end."""
    command = [sys.executable, "-m", "tests.brokers", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().rpartition(":")
        with socket.create_connection((host, int(port))):
            process.terminate()
        ended = process.wait(30)

    assert ended == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_one_of_three_leads_and_another_takes_over(kafka_of_three: Cluster) -> None:
    """The leader is killed; what was acknowledged stays, and more can come."""
    topic = new_topic(kafka_of_three.servers)
    append(kafka_of_three.servers, topic, b"kept")
    first = leader_of(kafka_of_three, topic, 0)
    first.kill()
    append(kafka_of_three.servers, topic, b"more")

    assert leader_of(kafka_of_three, topic, 0) is not first
    assert first_value(kafka_of_three.servers, topic) == b"kept"


def test_a_frozen_broker_answers_nothing_until_it_is_thawed(tmp_path: Path) -> None:
    """Its connections stay open; the next record after it goes through."""
    with kafka_cluster(tmp_path) as cluster, producing(cluster.servers, 2) as producer:
        topic = new_topic(cluster.servers)
        producer.send(topic, b"before", partition=0).get(30)
        cluster.brokers[0].freeze()
        with pytest.raises(KafkaError):
            producer.send(topic, b"lost", partition=0).get(30)
        cluster.brokers[0].thaw()
        cluster.wait_ready()
        append(cluster.servers, topic, b"after")

        assert first_value(cluster.servers, topic) == b"before"


def test_the_session_has_a_kafka(kafka_servers: tuple[str, ...]) -> None:
    """It takes a record and gives it back."""
    topic = new_topic(kafka_servers)
    append(kafka_servers, topic, b"1")

    assert first_value(kafka_servers, topic) == b"1"
