"""A whole run against the services on Kafka: callers, faults, the drain, the evidence."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from hookline.log import Bounds, Log, Record, Topic
from hookline.log.kafka import Durability
from services.executor.serve import GROUP
from tests.broker_answers import commits_at
from tests.brokers import Cluster
from tests.faults.effects import PARKING, flow_file, receiving
from tests.faults.evidence import Evidence, Snapshot
from tests.faults.generator import Plan, generating
from tests.faults.history import History
from tests.faults.kafka_nemesis import OWNED, SESSION_S, Do, KafkaNemesis
from tests.faults.looking import Looking
from tests.faults.scenario import evidence_of, note_drained
from tests.kafka_line import Line, line_on
from tests.processes import Service
from tests.waiting import until_asked

ONE = Durability(replication=1, min_insync=1)
# Two executors keep up with it, also where the machine is busy.
A_SECOND = 40.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What a run stands on: brokers, how durable its topics are, faults of its own."""

    brokers: Cluster
    durability: Durability = ONE
    more: Mapping[str, Do] = field(default_factory=dict)
    # Where clients begin; the brokers themselves where it is empty.
    servers: Sequence[str] = ()
    # Pairs of a router and an ingress; callers with keys repeat their requests so often.
    edges: int = 1
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class KafkaTopics:
    """The topics on the brokers, to look into them."""

    log: Log
    line: Line
    brokers: Cluster

    def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records that are durable now."""
        return self.log.read(topic, partition, start, end)

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Where a partition starts and ends now."""
        return await self.log.bounds(topic, partition)

    async def commits(self) -> Sequence[int]:
        """How far the executors have come in each partition."""
        kafka, events = self.line.kafka, self.line.topics.events
        return await asyncio.to_thread(
            commits_at,
            self.brokers.answering[0].server,
            kafka.name_of(GROUP),
            kafka.name_of(events.name),
            events.partitions,
        )


async def _edge(line: Line) -> Service:
    """One more router, and an ingress before it."""
    router = await line.start("router", "--grpc", "127.0.0.1:0")
    place = ("--http", "127.0.0.1:0", "--router", router.grpc)
    ingress = await line.start("ingress", *place)
    await ingress.wait_ready()
    return ingress


async def run_kafka_scenario(
    directory: Path, ground: Ground, seed: int, faults: Sequence[str]
) -> Evidence:
    """Do it, and gather what the checker judges; the history is left in the directory."""
    flows = directory / "flows"
    flows.mkdir()
    async with (
        receiving() as (receiver, url),
        line_on(
            ground.servers or ground.brokers.servers,
            flows,
            flows=8,
            partitions=4,
            durability=ground.durability,
            flow_of=partial(flow_file, url=url),
            HOOKLINE_KAFKA__SESSION_TIMEOUT_S=str(SESSION_S),
            **PARKING,
        ) as line,
        line.log() as log,
    ):
        edges = [line.ingress, *[await _edge(line) for _ in range(1, ground.edges)]]
        plan = Plan(
            ",".join(edge.http for edge in edges),
            line.flow_ids,
            seed,
            a_second=A_SECOND,
            repeats=ground.repeats,
        )
        random = Random(seed)  # noqa: S311 - a seed
        looking, snapshots = Looking(line.topics), list[Snapshot]()
        topics = KafkaTopics(log, line, ground.brokers)
        executors = [await line.executor() for _ in range(2)]
        for one in executors:
            await one.wait_metric(OWNED, line.topics.events.partitions / 2)
        with History(directory / "history.jsonl") as history:
            async with generating(plan, history) as generator:
                nemesis = KafkaNemesis(
                    line,
                    ground.brokers,
                    generator,
                    receiver,
                    history,
                    random,
                    executors,
                    ground.more,
                )
                for fault in faults:
                    await nemesis.do([fault])
                    commits = await topics.commits()
                    await until_asked(partial(looking.looked, topics), 60)
                    snapshots += looking.snapshots(commits)
            await note_drained(looking, topics, history, 60)
        return evidence_of(
            history,
            looking,
            receiver,
            line.flow_ids,
            snapshots=snapshots,
            footprints=nemesis.footprints,
        )
