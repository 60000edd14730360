"""Makes and checks the topics, and goes on trying while the brokers come up."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from hookline.cli.log_place import (
    cluster_of,
    durability_of,
    parse_brokers,
    topics_of,
)
from hookline.errors import BadConfiguration, Unavailable
from hookline.log import Topic
from hookline.log.kafka import Cluster, Durability
from hookline.log.kafka_topics import check_topics, create_topics
from hookline.settings import Settings
from hookline.telemetry import silence_libraries
from services.executor.serve import GROUP

PAUSE_S = 1.0
SPREAD_S = 10.0
Found = TypeVar("Found")


def create_missing(log: str, wait_s: float) -> tuple[list[str], list[str]]:
    """The names that were made, and a sentence for each thing that is wrong.

    Raises BadConfiguration, and Unavailable where no broker answers in time.
    """
    place, settings = parse_brokers(log), Settings.read(os.environ)
    cluster = cluster_of(place, settings.kafka)
    durability = durability_of(settings.kafka)
    all_topics = topics_of(place, settings)
    topics = all_topics.all
    groups = {GROUP: all_topics.events}
    made: list[str] = []

    async def create() -> list[str]:
        made.extend(await create_topics(cluster, topics, durability, groups=groups))
        # The broker that is asked next may hear of them a moment later.
        until = time.monotonic() + (SPREAD_S if made else 0.0)
        return await _checked_until(until, cluster, topics, durability)

    silence_libraries()
    return made, asyncio.run(_patiently(create, wait_s))


def check_all(log: str, wait_s: float) -> list[str]:
    """A sentence for each thing that is wrong. Raises as `create_missing` does.

    Within the wait it also goes on while something is wrong: topics may be on their way.
    """
    place, settings = parse_brokers(log), Settings.read(os.environ)
    cluster = cluster_of(place, settings.kafka)
    durability = durability_of(settings.kafka)
    topics = topics_of(place, settings).all
    until = time.monotonic() + wait_s

    async def check() -> list[str]:
        return await _checked_until(until, cluster, topics, durability)

    silence_libraries()
    return asyncio.run(_patiently(check, wait_s))


async def _checked_until(
    until: float, cluster: Cluster, topics: Sequence[Topic], durability: Durability
) -> list[str]:
    """What is wrong; asked again until then, where something is."""
    while True:
        mistakes = await check_topics(cluster, topics, durability)
        if not mistakes or time.monotonic() >= until:
            return mistakes
        await asyncio.sleep(PAUSE_S)


def leave_with(mistakes: list[str]) -> None:
    """Raise BadConfiguration with all of them, where there are any."""
    if mistakes:
        raise BadConfiguration("\n".join(mistakes))


async def _patiently(ask: Callable[[], Awaitable[Found]], wait_s: float) -> Found:
    """Ask until the brokers answer; what they then say of the topics stands."""
    until = time.monotonic() + wait_s
    told = False
    while True:
        try:
            return await ask()
        except Unavailable as error:
            if time.monotonic() >= until:
                raise
            if not told:
                told = True
                print(f"hookline: {error} Waiting …", file=sys.stderr)  # noqa: T201
        await asyncio.sleep(PAUSE_S)
