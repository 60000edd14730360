"""A real Kafka in processes of its own, one broker or three, whose faults are real.

A broker that was killed, stopped or frozen comes back on its port with its data; all of
them have ended when the block that asked for them ends. By hand:
`python -m tests.brokers --nodes 3 --directory DIR`.
"""

import argparse
import base64
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka.admin import KafkaAdminClient  # noqa: TID251 - asks brokers how they are
from kafka.errors import KafkaError  # noqa: TID251 - what it raises
from kafka.net.compat import KafkaNetClient  # noqa: TID251 - what it works with

from tests.jars import CLASSES, java, provide, why_not

__all__ = ["Broker", "Cluster", "kafka_cluster", "leader_of", "why_not"]

START_S = 60.0
# Below the ports that the system gives to outgoing connections: those could take the port
# of a broker that is down.
PORTS = range(20_000, 32_000)


class Broker:
    """A node: broker and controller in one process, with a port and a directory."""

    def __init__(self, node_id: int, port: int, directory: Path) -> None:
        self.node_id = node_id
        self.port = port
        self.directory = directory
        self.properties = directory / "server.properties"
        self.log = directory / "broker.log"
        self.frozen = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Of its process, while it runs."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Whether its process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def fell(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def start(self, archive: str | None = None) -> None:
        """Start its process; `Cluster.wait_ready` waits until it answers."""
        assert not self.running, f"broker {self.node_id} runs already"
        command = java("kafka.Kafka", str(self.properties), archive=archive)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it hand over its partitions and end; needs a majority of controllers."""
        self.thaw()
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It answers nothing, and its connections stay open."""
        self._running_process().send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """It goes on as if no time had passed."""
        self._running_process().send_signal(signal.SIGCONT)
        self.frozen = False

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"the end of {self.log}:", *lines[-30:]])

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or not self.running:
            raise RuntimeError(f"broker {self.node_id} does not run")
        return self._process

    def _end(self, how: signal.Signals) -> None:
        process = self._running_process()
        process.send_signal(how)
        process.wait(START_S)
        self._process = None
        self.frozen = False


class Cluster:
    """Brokers that know each other."""

    def __init__(self, brokers: tuple[Broker, ...]) -> None:
        self.brokers = brokers

    @property
    def servers(self) -> tuple[str, ...]:
        """HOST:PORT of each, whether it runs or not."""
        return tuple(broker.server for broker in self.brokers)

    @property
    def answering(self) -> tuple[Broker, ...]:
        """Those that run and are not frozen."""
        return tuple(b for b in self.brokers if b.running and not b.frozen)

    def wait_ready(self, timeout: float = START_S) -> None:
        """Until each of them that runs answers, and knows all others that do."""
        _wait(self._ready, timeout, "the brokers do not answer")

    def wait_in_sync(self, timeout: float = START_S) -> None:
        """Until every replica of every partition has caught up."""
        _wait(self._in_sync, timeout, "replicas are behind")

    def heal(self) -> None:
        """Bring back what was frozen, killed or stopped, and wait until all is well."""
        for broker in self.brokers:
            if broker.frozen:
                broker.thaw()
            elif not broker.running:
                broker.start()
        self.wait_ready()
        self.wait_in_sync()

    def topics(self) -> list[dict[str, Any]]:
        """What a broker that answers says about all topics."""
        with _admin(self.answering[0]) as admin:
            topics: list[dict[str, Any]] = admin.describe_topics()
        return topics

    def _ready(self) -> bool:
        for broker in self.brokers:
            if broker.fell:
                raise RuntimeError(f"a broker ended; {broker.last_words()}")
        expected = {broker.node_id for broker in self.answering}
        return all(_known_to(broker) >= expected for broker in self.answering)

    def _in_sync(self) -> bool:
        return all(
            set(partition["isr_nodes"]) == set(partition["replica_nodes"])
            for topic in self.topics()
            for partition in topic["partitions"]
        )


def leader_of(cluster: Cluster, topic_name: str, partition: int) -> Broker:
    """The broker that leads the partition now; the name is the whole one, with prefix."""
    found: list[Broker] = []

    def ask() -> bool:
        leaders = {
            each["partition_index"]: each["leader_id"]
            for topic in cluster.topics()
            if topic["name"] == topic_name
            for each in topic["partitions"]
        }
        found.extend(b for b in cluster.brokers if b.node_id == leaders.get(partition))
        return bool(found)

    _wait(ask, START_S, f"partition {partition} of {topic_name} has no leader")
    return found[0]


@contextmanager
def kafka_cluster(
    directory: Path, nodes: int = 1, **overrides: str
) -> Iterator[Cluster]:
    """Brokers that answer; their data stays in the directory, they end with the block.

    Overrides are broker settings: `**{"log.retention.ms": "1000"}`.
    """
    provide()
    cluster = _laid_out(directory, nodes, overrides)
    _format([broker for broker in cluster.brokers if not _formatted(broker)])
    try:
        for broker in cluster.brokers:
            broker.start()
        cluster.wait_ready()
        yield cluster
    finally:
        _end(cluster)


def _end(cluster: Cluster) -> None:
    """At once: the last of three that stop in good order would wait for the others."""
    for broker in cluster.brokers:
        if broker.running:
            broker.kill()


def _laid_out(directory: Path, nodes: int, overrides: Mapping[str, str]) -> Cluster:
    """Ports, directories and settings."""
    ports = _free_ports(2 * nodes)
    controllers = dict(enumerate(ports[nodes:], 1))
    brokers = tuple(
        Broker(node_id, port, directory.absolute() / f"node-{node_id}")
        for node_id, port in enumerate(ports[:nodes], 1)
    )
    for broker in brokers:
        broker.directory.mkdir(parents=True, exist_ok=True)
        settings = {**_settings(broker, controllers), **overrides}
        broker.properties.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
    return Cluster(brokers)


def _settings(broker: Broker, controllers: Mapping[int, int]) -> dict[str, str]:
    """A small and quick one; of three, what production is advised to have."""
    three = len(controllers) >= 3
    replication = "3" if three else "1"
    voters = [f"{node}@127.0.0.1:{port}" for node, port in controllers.items()]
    return {
        "process.roles": "broker,controller",
        "node.id": str(broker.node_id),
        "log.dirs": f"{broker.directory}/data",
        "listeners": f"BROKER://{broker.server},"
        f"CONTROLLER://127.0.0.1:{controllers[broker.node_id]}",
        "advertised.listeners": f"BROKER://{broker.server}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(voters),
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "auto.create.topics.enable": "false",
        "default.replication.factor": replication,
        "min.insync.replicas": "2" if three else "1",
        "unclean.leader.election.enable": "false",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": replication,
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "message.max.bytes": str(20 * 1024 * 1024),
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.cleaner.dedupe.buffer.size": "4194304",
    }


def _formatted(broker: Broker) -> bool:
    return (broker.directory / "data" / "meta.properties").exists()


def _format(brokers: list[Broker]) -> None:
    """Write what a broker wants to find in its directory; all of them at once."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    options = ("format", "-t", cluster_id, "-c")
    running = [
        subprocess.Popen(
            java("kafka.tools.StorageTool", *options, str(broker.properties)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for broker in brokers
    ]
    for process in running:
        said, _ = process.communicate(timeout=START_S)
        assert process.returncode == 0, said


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} ports are free in {PORTS}")


@contextmanager
def _admin(broker: Broker) -> Iterator[KafkaAdminClient]:
    """A client that asks this broker."""
    clients: list[KafkaNetClient] = []

    def client(**settings: Any) -> KafkaNetClient:
        # Held here: an admin client that gets no answer raises when it is made, and
        # leaves the thread and the sockets of this one behind.
        clients.append(KafkaNetClient(**settings))
        return clients[-1]

    try:
        yield KafkaAdminClient(
            bootstrap_servers=broker.server,
            bootstrap_timeout_ms=3_000,
            request_timeout_ms=3_000,
            kafka_client=client,
        )
    finally:
        for each in clients:
            each.close()


def _known_to(broker: Broker) -> set[int]:
    """The ids of the brokers that this one knows; none where it does not answer."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", broker.port)) != 0:
            return set()
    with _admin(broker) as admin:
        known = admin.describe_cluster()["brokers"]
    return {each["broker_id"] for each in known if not each["is_fenced"]}


def _wait(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
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


def write_archive() -> None:
    """Keep the classes that a broker loads, so that the next ones start quickly."""
    with tempfile.TemporaryDirectory() as directory:
        cluster = _laid_out(Path(directory), 1, {})
        _format(list(cluster.brokers))
        try:
            cluster.brokers[0].start(f"-XX:ArchiveClassesAtExit={CLASSES}")
            cluster.wait_ready()
            cluster.brokers[0].stop()
        finally:
            _end(cluster)


def main() -> None:
    """Brokers for work by hand, until SIGTERM or SIGINT."""
    words = argparse.ArgumentParser("python -m tests.brokers", description=main.__doc__)
    words.add_argument("--nodes", type=int, default=1)
    words.add_argument("--directory", type=Path, required=True)
    asked = words.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with kafka_cluster(asked.directory, asked.nodes) as cluster:
        print(",".join(cluster.servers), flush=True)  # noqa: T201 - what was asked for
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
