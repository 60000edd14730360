"""What lies on disk before a broker of the tests starts: its settings, and its format."""

import base64
import random
import socket
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.jars import java

FORMAT_S = 60.0
# Below the ports that the system gives to outgoing connections: those could take the port
# of a broker that is down.
PORTS = range(20_000, 32_000)
PROPERTIES = "server.properties"
SMALL = {
    "num.network.threads": "2",
    "num.io.threads": "2",
    "offsets.topic.num.partitions": "4",
    "log.cleaner.dedupe.buffer.size": "4194304",
}
QUICK = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
STRICT = {
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    "message.max.bytes": str(20 * 1024 * 1024),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is: its id, HOST:PORT for clients, and its directory."""

    node_id: int
    server: str
    directory: Path


def write_settings(
    place: Place, controllers: Mapping[int, int], overrides: Mapping[str, str]
) -> None:
    """Of a node; the controllers are the ports of all nodes for each other, by id."""
    durability = _durability(len(controllers))
    addresses = _addresses(place, controllers)
    settings = {**addresses, **durability, **SMALL, **QUICK, **STRICT, **overrides}
    place.directory.mkdir(parents=True, exist_ok=True)
    lines = (f"{name}={value}\n" for name, value in settings.items())
    (place.directory / PROPERTIES).write_text("".join(lines))


def format_new(directories: Iterable[Path]) -> None:
    """Format those that are not yet, for one cluster; all of them at once."""
    # Any 16 bytes will do; an id that begins with a dash would be taken for an option.
    cluster_id = base64.urlsafe_b64encode(b"h" + uuid.uuid4().bytes[1:]).decode()[:22]
    options = ("format", "-t", cluster_id, "-c")
    running = [
        subprocess.Popen(
            java("kafka.tools.StorageTool", *options, str(directory / PROPERTIES)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for directory in directories
        if not (directory / "data" / "meta.properties").exists()
    ]
    for process in running:
        said, _ = process.communicate(timeout=FORMAT_S)
        assert process.returncode == 0, said


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} ports are free in {PORTS}")


def _addresses(place: Place, controllers: Mapping[int, int]) -> dict[str, str]:
    """Who it is, where it listens, who votes: a broker and a controller in one."""
    controller = f"CONTROLLER://127.0.0.1:{controllers[place.node_id]}"
    voters = [f"{node}@127.0.0.1:{port}" for node, port in controllers.items()]
    return {
        "process.roles": "broker,controller",
        "node.id": str(place.node_id),
        "log.dirs": f"{place.directory}/data",
        "listeners": f"BROKER://{place.server},{controller}",
        "advertised.listeners": f"BROKER://{place.server}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(voters),
    }


def _durability(nodes: int) -> dict[str, str]:
    """Of three nodes, what production is advised to have."""
    replication, in_sync = ("3", "2") if nodes >= 3 else ("1", "1")
    return {
        "default.replication.factor": replication,
        "offsets.topic.replication.factor": replication,
        "min.insync.replicas": in_sync,
    }
