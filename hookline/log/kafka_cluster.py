"""How the brokers are reached, and what every client of ours is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from hookline.errors import Unavailable

CONNECT_MS: Final = 5_000
# The default of 30 s turns a failover of seconds into half a minute.
RECONNECT_MS: Final = 500
# A client never asks its first servers again. One that was told of brokers while but one
# of them lived knows only that one until it asks anew, and is lost when it goes.
METADATA_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster; `access` holds kafka-python's own names of security options."""

    servers: tuple[str, ...]
    prefix: str = "hookline."
    client_id: str = "hookline"
    access: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def name_of(self, topic_name: str) -> str:
        """A topic's name in Kafka."""
        return self.prefix + topic_name

    def connect(
        self,
        kind: Callable[..., Any],
        network: Callable[..., KafkaNetClient] = KafkaNetClient,
        **options: Any,
    ) -> Any:
        """Make a client of kafka-python. Raises Unavailable where no broker answers.

        A client that cannot be made leaves the thread and the sockets of its network half
        behind; they are ended here.
        """
        halves: list[KafkaNetClient] = []

        def half(**settings: Any) -> KafkaNetClient:
            halves.append(network(**settings))
            return halves[-1]

        try:
            return kind(**self._options(), **options, kafka_client=half)
        except (KafkaError, OSError) as error:
            for one in halves:
                one.close()
            servers = ",".join(self.servers)
            text = f"No broker answers at {servers} ({type(error).__name__})."
            raise Unavailable(text) from error

    def _options(self) -> dict[str, Any]:
        """What every client is told."""
        return {
            **self.access,
            "bootstrap_servers": list(self.servers),
            "client_id": self.client_id,
            "bootstrap_timeout_ms": CONNECT_MS,
            "reconnect_backoff_max_ms": RECONNECT_MS,
            "metadata_max_age_ms": METADATA_MS,
        }


@dataclass(frozen=True, slots=True)
class Durability:
    """On how many brokers a record is before it counts as durable.

    `replication` is how many hold a copy, `min_insync` how many must have it when an
    append returns. Three and two outlive the loss of one broker.
    """

    replication: int = 3
    min_insync: int = 2
