"""Faults of brokers under the services on Kafka: one alone, or three that come and go.

What may last until the log takes events again gives from when to when it could take
nothing, for certain.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.brokers import leader_of
from tests.faults.history import now_us

if TYPE_CHECKING:
    from tests.brokers import Broker
    from tests.faults.kafka_nemesis import KafkaNemesis

STOPPED_S: Final = 0.2


async def freeze_broker(nemesis: KafkaNemesis) -> tuple[int, int]:
    """It answers nothing for a while; gives when the log could take nothing."""
    [broker] = nemesis.brokers.brokers
    broker.freeze()
    await asyncio.sleep(STOPPED_S)  # the signal is on its way
    begun = now_us()
    await asyncio.sleep(3)  # the length of the fault
    ended = now_us()
    broker.thaw()
    return begun, ended


async def stop_broker(nemesis: KafkaNemesis) -> tuple[int, int]:
    """It goes away, and comes back."""
    [broker] = nemesis.brokers.brokers
    await asyncio.to_thread(broker.stop)
    begun = now_us()
    await asyncio.sleep(2)  # the length of the fault
    ended = now_us()
    await asyncio.to_thread(nemesis.brokers.heal)
    return begun, ended


async def kill_leader(nemesis: KafkaNemesis) -> None:
    """The leader of a partition goes; others lead, and it comes back."""
    (await _leader(nemesis)).kill()
    await nemesis.generator.until_more(30)
    await asyncio.to_thread(nemesis.brokers.heal)


async def freeze_leader(nemesis: KafkaNemesis) -> None:
    """The leader of a partition answers nothing until others lead, and wakes up."""
    (await _leader(nemesis)).freeze()
    await nemesis.generator.until_more(30)
    await asyncio.to_thread(nemesis.brokers.heal)


async def _leader(nemesis: KafkaNemesis) -> Broker:
    topic = nemesis.line.topics.events
    partition = nemesis.random.randrange(topic.partitions)
    name = nemesis.line.kafka.name_of(topic.name)
    return await asyncio.to_thread(leader_of, nemesis.brokers, name, partition)


async def keep_one_broker(nemesis: KafkaNemesis) -> tuple[int, int]:
    """One of three is left, fewer than `min.insync.replicas`; gives for how long."""
    for broker in nemesis.random.sample(nemesis.brokers.brokers, 2):
        broker.kill()
    return await _without_log(nemesis)


async def restart_brokers(nemesis: KafkaNemesis) -> tuple[int, int]:
    """All are gone at once, and come back."""
    for broker in nemesis.brokers.brokers:
        broker.kill()
    return await _without_log(nemesis)


async def _without_log(nemesis: KafkaNemesis) -> tuple[int, int]:
    begun = now_us()
    await asyncio.sleep(2)  # the length of the fault
    ended = now_us()
    await asyncio.to_thread(nemesis.brokers.heal)
    return begun, ended
