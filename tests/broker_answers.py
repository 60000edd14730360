"""What the tests' brokers say when they are asked, and waiting for what they should say."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition  # noqa: TID251 - the same
from kafka.admin import KafkaAdminClient  # noqa: TID251 - the brokers themselves are asked
from kafka.errors import KafkaError  # noqa: TID251 - the same
from kafka.net.compat import KafkaNetClient  # noqa: TID251 - the same


@contextmanager
def asking(server: str) -> Iterator[KafkaAdminClient]:
    """A client that asks this broker alone at first."""
    clients: list[KafkaNetClient] = []

    def client(**settings: Any) -> KafkaNetClient:
        # Held here: an admin client that gets no answer raises when it is made, and
        # leaves the thread and the sockets of this one behind.
        clients.append(KafkaNetClient(**settings))
        return clients[-1]

    try:
        yield KafkaAdminClient(
            bootstrap_servers=server,
            bootstrap_timeout_ms=3_000,
            request_timeout_ms=3_000,
            kafka_client=client,
        )
    finally:
        for each in clients:
            each.close()


def known_to(server: str) -> set[int]:
    """The ids of the brokers that this one knows; none where it does not answer."""
    host, _, port = server.rpartition(":")
    with socket.socket() as probe:
        if probe.connect_ex((host, int(port))) != 0:
            return set()
    with asking(server) as admin:
        known = admin.describe_cluster()["brokers"]
    return {each["broker_id"] for each in known if not each["is_fenced"]}


def topics_at(server: str) -> list[dict[str, Any]]:
    """What it knows of all topics: `name`, and of `partitions` leader, replicas, ISR."""
    with asking(server) as admin:
        topics: list[dict[str, Any]] = admin.describe_topics()
    return topics


def commits_at(server: str, group: str, topic: str, partitions: int) -> list[int]:
    """How far a group has come in each partition; the names are whole, with prefix."""
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    with asking(server) as admin:
        found = admin.list_group_offsets({group: places})[group]
    return [max(0, found[place].offset) for place in places]


def wait_until(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
    """Ask again and again, for so many seconds."""
    end = time.monotonic() + timeout
    cause: Exception | None = None
    while time.monotonic() < end:
        try:
            if condition():
                return
        except KafkaError as error:
            cause = error
        time.sleep(0.05)
    raise TimeoutError(f"after {timeout:.0f} s {otherwise}") from cause
