"""A real Kafka in processes of its own, one broker or three, whose faults are real.

A broker that was killed, stopped or frozen comes back on its port with its data; all of
them have ended when the block that asked for them ends. By hand:
`python -m tests.brokers --nodes 3 --directory DIR`.
"""

import argparse
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.broker_answers import known_to, topics_at, wait_until
from tests.broker_files import Place, format_new, free_ports, write_settings
from tests.jars import CLASSES, java, provide, why_not

__all__ = ["Broker", "Cluster", "kafka_cluster", "leader_of", "why_not"]

START_S = 60.0


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
        wait_until(self._ready, timeout, "the brokers do not answer")

    def wait_in_sync(self, timeout: float = START_S) -> None:
        """Until every replica of every partition has caught up."""
        wait_until(self._in_sync, timeout, "replicas are behind")

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
        return topics_at(self.answering[0].server)

    def _ready(self) -> bool:
        for broker in self.brokers:
            if broker.fell:
                raise RuntimeError(f"a broker ended; {broker.last_words()}")
        expected = {broker.node_id for broker in self.answering}
        return all(known_to(broker.server) >= expected for broker in self.answering)

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

    wait_until(ask, START_S, f"partition {partition} of {topic_name} has no leader")
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
    try:
        with _sigterm_unwinds():
            for broker in cluster.brokers:
                broker.start()
            cluster.wait_ready()
            yield cluster
    finally:
        _end(cluster)


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does: it would leave the brokers behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(cluster: Cluster) -> None:
    """At once: the last of three that stop in good order would wait for the others."""
    for broker in cluster.brokers:
        if broker.running:
            broker.kill()


def _laid_out(directory: Path, nodes: int, overrides: Mapping[str, str]) -> Cluster:
    """Brokers with ports, directories and settings, formatted, not yet started."""
    ports = free_ports(2 * nodes)
    controllers = dict(enumerate(ports[nodes:], 1))
    brokers = tuple(
        Broker(node_id, port, directory.absolute() / f"node-{node_id}")
        for node_id, port in enumerate(ports[:nodes], 1)
    )
    for each in brokers:
        place = Place(each.node_id, each.server, each.directory)
        write_settings(place, controllers, overrides)
    format_new([broker.directory for broker in brokers])
    return Cluster(brokers)


def write_archive() -> None:
    """Keep the classes that a broker loads, so that the next ones start quickly."""
    with tempfile.TemporaryDirectory() as directory:
        cluster = _laid_out(Path(directory), 1, {})
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
    with (
        suppress(KeyboardInterrupt),
        kafka_cluster(asked.directory, asked.nodes) as cluster,
    ):
        print(",".join(cluster.servers), flush=True)  # noqa: T201 - what was asked for
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
