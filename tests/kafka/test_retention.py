"""A bounded topic on Kafka: the brokers forget its oldest records."""

import uuid

import pytest
from kafka.admin import (  # noqa: TID251 - to alter what the log relies on
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
)

from hookline.log import Bound, Topic
from hookline.log.kafka import Cluster, Durability, check_topics, create_topics

pytestmark = pytest.mark.kafka

BOUNDED = Topic("bounded", 2, bound=Bound(8 * 1024 * 1024, 3600))
ONE = Durability(replication=1, min_insync=1)


@pytest.fixture
async def cluster(kafka_servers: tuple[str, ...]) -> Cluster:
    cluster = Cluster(kafka_servers, prefix=f"{uuid.uuid4().hex}.")
    await create_topics(cluster, [BOUNDED], ONE)
    return cluster


def alter(cluster: Cluster, **configs: str) -> None:
    """Set configurations, dots written as underscores, of the topic."""
    name = cluster.name_of(BOUNDED.name)
    named = {key.replace("_", "."): value for key, value in configs.items()}
    admin = KafkaAdminClient(bootstrap_servers=list(cluster.servers))
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, named)])
    finally:
        admin.close()


async def test_it_is_made_with_its_bounds_and_others_will_do(cluster: Cluster) -> None:
    """How much is kept is the operator's choice."""
    made = await check_topics(cluster, [BOUNDED], ONE)
    alter(cluster, retention_ms="60000", retention_bytes="5000000")
    altered = await check_topics(cluster, [BOUNDED], ONE)

    assert (made, altered) == ([], [])


@pytest.mark.parametrize("key", ["retention_ms", "retention_bytes"])
async def test_without_bounds_it_is_refused(cluster: Cluster, key: str) -> None:
    """With the command that puts it right."""
    alter(cluster, **{key: "-1"})

    [mistake] = await check_topics(cluster, [BOUNDED], ONE)

    assert f"{key.replace('_', '.')}=-1" in mistake
    assert "kafka-configs --alter" in mistake


async def test_a_topic_without_bounds_has_none_on_the_brokers(
    cluster: Cluster,
) -> None:
    """And is refused where it has."""
    unbounded = Topic(BOUNDED.name, BOUNDED.partitions)

    mistakes = await check_topics(cluster, [unbounded], ONE)

    assert len(mistakes) == 2
    assert all("needs -1" in mistake for mistake in mistakes)
