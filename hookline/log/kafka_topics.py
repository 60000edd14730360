"""The topics in Kafka: made with what the promises need, and checked for it at each start.

What does not hold is refused with the sentence that mends it: a log that quietly has one
copy, expires its records or has another number of partitions breaks promises later.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaAdminClient, OffsetAndMetadata, OffsetSpec, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    RetriableError,
    TopicAlreadyExistsError,
)

from hookline.errors import Unavailable
from hookline.log import Position, Topic
from hookline.log.kafka_cluster import Cluster, Durability

READY_MS: Final = 15_000
SEGMENT_MS: Final = 24 * 60 * 60 * 1000
LEAST_SEGMENT_BYTES: Final = 1024 * 1024
UNKNOWN_TOPIC: Final = 3
NO_LIMIT: Final = "-1"
RETRY_S: Final = 0.2
WEAKEN: Final = "set HOOKLINE_KAFKA__REPLICATION=1 HOOKLINE_KAFKA__MIN_INSYNC=1"
NO_GROUPS: Final[Mapping[str, Topic]] = {}
Configs = Mapping[str, str]


def wanted_configs(
    topic: Topic, durability: Durability, largest_record_bytes: int
) -> dict[str, str]:
    """What a topic is made with; `check_topics` insists on what is in `CHECKED`."""
    wanted = {
        "min.insync.replicas": str(durability.min_insync),
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(largest_record_bytes),
        "message.timestamp.type": "LogAppendTime",
    }
    if topic.compacted:
        return {**wanted, "cleanup.policy": "compact", "segment.ms": str(SEGMENT_MS)}
    return {**wanted, **_retention(topic), "cleanup.policy": "delete"}


def _retention(topic: Topic) -> dict[str, str]:
    if topic.bound is None:
        return {"retention.ms": NO_LIMIT, "retention.bytes": NO_LIMIT}
    most_bytes, most_age_s = topic.bound
    return {
        "retention.ms": str(most_age_s * 1000),
        "retention.bytes": str(most_bytes),
        # Only whole segments go, and never the newest.
        "segment.bytes": str(max(most_bytes // 4, LEAST_SEGMENT_BYTES)),
        "segment.ms": str(SEGMENT_MS),
    }


async def create_topics(
    cluster: Cluster,
    topics: Iterable[Topic],
    durability: Durability,
    *,
    groups: Mapping[str, Topic] = NO_GROUPS,
    largest_record_bytes: int = 16 * 1024 * 1024,
) -> list[str]:
    """Make the topics that are missing; gives their names. Existing ones are left alone.

    Of each of `groups`, where it starts in its topic is written down while that is empty:
    from then on a group without a commit has lost it.

    Raises Unavailable where the brokers cannot be reached, or are too few.
    """
    made = []
    for topic in topics:
        new = NewTopic(
            cluster.name_of(topic.name),
            topic.partitions,
            durability.replication,
            topic_configs=wanted_configs(topic, durability, largest_record_bytes),
        )
        if await _call(cluster, _create, new):
            made.append(new.name)
    for group, topic in groups.items():
        places = [
            TopicPartition(cluster.name_of(topic.name), partition)
            for partition in range(topic.partitions)
        ]
        await _call(cluster, _write_start, cluster.name_of(group), places)
    return made


def _write_start(admin: Any, group: str, places: list[TopicPartition]) -> None:
    """Commit the start of a group that has never run. Raises KafkaError."""
    deadline = time.monotonic() + READY_MS / 1000
    while True:
        try:
            if _is_new(admin, group, places):
                start = OffsetAndMetadata(0, "", -1)
                admin.alter_group_offsets(group, dict.fromkeys(places, start))
        except RetriableError:
            # The first group of a cluster has its topic made by being asked for.
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)
        else:
            return


def _is_new(admin: Any, group: str, places: list[TopicPartition]) -> bool:
    """Whether there is nothing yet that the group could have done."""
    commits = admin.list_group_offsets({group: places})[group]
    if any(commit.offset >= 0 for commit in commits.values()):
        return False
    ends = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
    return all(found.offset == 0 for found in ends.values())


def _create(admin: Any, new: NewTopic) -> bool:
    try:
        admin.create_topics([new])
    except TopicAlreadyExistsError:
        return False
    except InvalidReplicationFactorError as error:
        there = len(admin.describe_cluster()["brokers"])
        raise Unavailable(
            f"{there} broker(s) are there and {new.replication_factor} copies of each "
            f"record are wanted: start the others, or, where the loss of a broker may "
            f"lose events, {WEAKEN}."
        ) from error
    admin.wait_for_topics([new.name], timeout_ms=READY_MS)
    return True


async def check_topics(
    cluster: Cluster,
    topics: Iterable[Topic],
    durability: Durability,
    *,
    largest_record_bytes: int = 16 * 1024 * 1024,
) -> list[str]:
    """A sentence for each thing that breaks a promise; none where all is well.

    Raises Unavailable where no broker answers.
    """
    wanted = list(topics)
    names = [cluster.name_of(topic.name) for topic in wanted]
    described, configs, auto_create = await _call(cluster, _look, names)
    sentences = [AUTO_CREATE] if auto_create else []
    for topic, name in zip(wanted, names, strict=True):
        found = described.get(name)
        if found is None or found["error_code"] == UNKNOWN_TOPIC:
            sentences.append(f"The topic {name} is missing: hookline topics create.")
            continue
        partitions = found["partitions"]
        sentences += _check_layout(topic, name, partitions, durability)
        needed = wanted_configs(topic, durability, largest_record_bytes)
        sentences += _check_configs(name, needed, configs.get(name, {}))
    return sentences


AUTO_CREATE: Final = (
    "The brokers make topics by themselves, and a mistyped name would become one: set "
    "auto.create.topics.enable=false on the brokers."
)


def _look(
    admin: Any, names: list[str]
) -> tuple[dict[str, Any], dict[str, Configs], bool]:
    described = {found["name"]: found for found in admin.describe_topics(names)}
    there = [n for n, found in described.items() if found["error_code"] == 0]
    configs = _configs(admin, ConfigResourceType.TOPIC, there)
    broker = str(admin.describe_cluster()["brokers"][0]["broker_id"])
    brokers = _configs(admin, ConfigResourceType.BROKER, [broker])
    auto_create = brokers.get(broker, {}).get("auto.create.topics.enable") == "true"
    return described, configs, auto_create


def _configs(
    admin: Any, kind: ConfigResourceType, names: list[str]
) -> dict[str, Configs]:
    if not names:
        return {}
    resources = [ConfigResource(kind, name) for name in names]
    found = admin.describe_configs(resources, config_filter="all")
    return {
        name: {key: str(one["value"]) for key, one in entries.items()}
        for name, entries in found.get(kind.name.lower(), {}).items()
    }


def _check_layout(
    topic: Topic, name: str, partitions: list[Any], durability: Durability
) -> list[str]:
    sentences = []
    if len(partitions) != topic.partitions:
        text = (
            f"The topic {name} has {len(partitions)} partitions and {topic.partitions} "
            "are configured; order hangs on the number, so it cannot change"
        )
        if topic.compacted:
            text += ": it has to be made anew, with what was in it"
        else:
            text += f": set HOOKLINE_LOG__PARTITIONS={len(partitions)}"
        sentences.append(f"{text}.")
    copies = min((len(one["replica_nodes"]) for one in partitions), default=0)
    if copies < durability.replication:
        sentences.append(
            f"The topic {name} has {copies} cop{'y' if copies == 1 else 'ies'} of each "
            f"record and {durability.replication} are wanted: add replicas with "
            "kafka-reassign-partitions, or, where the loss of a broker may lose events, "
            f"set HOOKLINE_KAFKA__REPLICATION={copies} "
            f"HOOKLINE_KAFKA__MIN_INSYNC={max(1, copies - 1)}."
        )
    return sentences


def _check_configs(name: str, wanted: Configs, found: Configs) -> list[str]:
    return [
        f"The topic {name} has {key}={found.get(key)} and needs {value}: "
        f"kafka-configs --alter --topic {name} --add-config {key}={value}."
        for key, value in wanted.items()
        if key in CHECKED and not CHECKED[key](found.get(key, ""), value)
    ]


def _at_least(found: str, wanted: str) -> bool:
    return found.lstrip("-").isdecimal() and int(found) >= int(wanted)


def _equal(found: str, wanted: str) -> bool:
    return found == wanted


def _as_limited(found: str, wanted: str) -> bool:
    """No limit where none is wanted; else any, for how much is the operator's choice."""
    return found == wanted if wanted == NO_LIMIT else found not in ("", NO_LIMIT)


CHECKED: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "min.insync.replicas": _at_least,
    "unclean.leader.election.enable": _equal,
    "max.message.bytes": _at_least,
    "cleanup.policy": _equal,
    "message.timestamp.type": _equal,
    "retention.ms": _as_limited,
    "retention.bytes": _as_limited,
}


async def trim(cluster: Cluster, name: str, before: Position) -> None:
    """Have the brokers forget the records of a partition before an offset."""
    await _call(cluster, _trim, name, before)


def _trim(admin: Any, name: str, before: Position) -> None:
    admin.delete_records({TopicPartition(name, before.partition): before.offset})


async def _call(cluster: Cluster, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call with an admin client of its own, off the loop. Raises Unavailable."""
    return await asyncio.to_thread(_with_admin, cluster, function, *arguments)


def _with_admin(cluster: Cluster, function: Callable[..., Any], *arguments: Any) -> Any:
    admin = cluster.connect(KafkaAdminClient, request_timeout_ms=10_000)
    try:
        return function(admin, *arguments)
    except KafkaError as error:
        kind = type(error).__name__.removesuffix("Error")
        raise Unavailable(f"The brokers refuse ({kind}).") from error
    finally:
        with suppress(KafkaError, RuntimeError, OSError):
            admin.close()
