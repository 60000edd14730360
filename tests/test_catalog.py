"""The topic `flows` as several routers share it: one version, one content, for all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hookline.catalog import Catalog
from hookline.components import component_types
from hookline.flow_file import FlowFile
from hookline.flow_records import version_key
from hookline.log import CAUGHT_UP, Bounds, CaughtUp, Log, Position, Record, Topic
from hookline.log.sqlite import open_log
from hookline.metrics import Metrics
from hookline.secrets import Secrets
from hookline.topics import Topics
from hookline.v1 import event_pb2, flow_pb2
from services.router.applier import AT_ONCE, Applier
from services.router.flow_service import FlowServicer
from services.router.receiver import Receiver
from services.router.registry import Registry

TOPICS = Topics.with_partitions(2)
FLOW = """
id: {id}
name: {name}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    async with open_log(tmp_path, TOPICS.all) as log:
        yield log


@asynccontextmanager
async def catalog_of(log: Log) -> AsyncIterator[Catalog]:
    """What one router knows."""
    catalog = Catalog(log, TOPICS)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(catalog.run())
        await catalog.wait_caught_up()
        yield catalog
        running.cancel()


async def apply(log: Log, catalog: Catalog, name: str) -> int:
    """Apply a flow by a router of its own; gives its version."""
    applier = Applier(catalog, log, TOPICS, Secrets({}), component_types())
    text = FLOW.format(id="f", name=name)
    flows, mistakes = applier.check([FlowFile("f.yaml", text.encode())])
    assert not mistakes
    [applied] = await applier.apply(flows)
    return applied.version


def known(catalog: Catalog) -> dict[int, str]:
    """The versions of the flow and their names."""
    current = catalog.current("f")
    assert current is not None
    versions = [catalog.version("f", n + 1) for n in range(current.version)]
    return {one.version: one.name for one in versions if one is not None}


async def test_routers_that_apply_at_once_make_versions_that_all_agree_on(
    log: Log,
) -> None:
    """Each one's content has a version of its own, whoever reads, whenever."""
    names = [f"name {n}" for n in range(8)]
    async with catalog_of(log) as one, catalog_of(log) as other:
        versions = await asyncio.gather(
            *(apply(log, (one, other)[n % 2], name) for n, name in enumerate(names))
        )
        await asyncio.gather(one.wait_current("f", 8), other.wait_current("f", 8))
        async with catalog_of(log) as late:
            assert known(one) == known(other) == known(late)

    assert sorted(versions) == list(range(1, 9))
    assert {names[n]: version for n, version in enumerate(versions)} == {
        name: version for version, name in known(late).items()
    }


async def test_the_same_content_applied_at_once_is_one_version(log: Log) -> None:
    """Nothing changes for who comes second."""
    async with catalog_of(log) as one, catalog_of(log) as other:
        versions = await asyncio.gather(
            apply(log, one, "same"), apply(log, other, "same")
        )

    assert set(versions) == {1}


async def test_a_router_catches_up_with_what_was_applied_before(log: Log) -> None:
    """After it, a flow that another has applied is known."""
    async with catalog_of(log) as one, catalog_of(log) as other:
        await apply(log, one, "new")
        await other.catch_up()

        assert other.current("f") is not None


async def test_what_is_no_flow_is_passed_over(log: Log) -> None:
    """Others may write to the topic; flows after it are served."""
    await log.append(TOPICS.flows, version_key("f", 1), b"\xff\xff")
    await log.append(TOPICS.flows, b"something else", b"")
    flow = flow_pb2.Flow(id="f", version=1, name="good")
    await log.append(TOPICS.flows, version_key("f", 1), flow.SerializeToString())
    async with catalog_of(log) as catalog:
        assert known(catalog) == {1: "good"}


class LateLog:
    """A log whose followers hear nothing before somebody asks where the topic ends."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Tell, and let followers go on."""
        self._asked.set()
        return await self._log.bounds(topic, partition)

    async def follow(self, topic: Topic) -> AsyncIterator[Sequence[Record] | CaughtUp]:
        """What stands, and what comes when it was asked for."""
        async for batch in self._log.follow(topic):
            if batch != CAUGHT_UP:
                await self._asked.wait()
            yield batch


async def test_a_flow_that_another_router_has_applied_is_never_unknown(
    log: Log,
) -> None:
    """Before a router says 404 it reads what it has not read yet; nobody else is 404."""
    late = LateLog(log)
    async with catalog_of(late) as other, catalog_of(log) as one:
        registry = Registry(other, Secrets({}), "")
        receiver = Receiver(
            registry, late, TOPICS, Metrics(None, None), other.caught_up
        )
        await apply(log, one, "new")
        known_before = registry.has("f")
        request = event_pb2.Request(flow_id="f", method="POST")
        unknown = event_pb2.Request(flow_id="g", method="POST")
        answers = await asyncio.gather(*map(receiver.receive, (request, unknown)))

    assert not known_before
    assert answers[0].accepted.event_id
    assert answers[1].rejected.reason == event_pb2.REASON_UNKNOWN_FLOW


class CountingLog:
    """Counts what is appended in one turn of the loop."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._count = 0
        self.turns: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(
        self, topic: Topic, key: bytes, value: bytes | None
    ) -> "asyncio.Future[Position]":
        if not self._count:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._count += 1
        return self._log.append(topic, key, value)

    def _end_turn(self) -> None:
        self.turns.append(self._count)
        self._count = 0


async def test_many_flows_are_written_together(log: Log) -> None:
    counting = CountingLog(log)
    async with catalog_of(log) as catalog:
        applier = Applier(catalog, counting, TOPICS, Secrets({}), component_types())
        files = [
            FlowFile(f"{n}.yaml", FLOW.format(id=f"f-{n}", name="n").encode())
            for n in range(40)
        ]
        flows, mistakes = applier.check(files)
        assert not mistakes

        applied = await applier.apply(flows)

        assert [one.flow_id for one in applied] == [f"f-{n}" for n in range(40)]
        assert all(one.changed and one.version == 1 for one in applied)
    assert counting.turns == [AT_ONCE, AT_ONCE, 40 - 2 * AT_ONCE]


async def test_flows_are_applied_in_the_order_in_which_they_were_asked_for(
    log: Log,
) -> None:
    """However long it takes to check the first ones."""

    def asked(name: str, others: int) -> flow_pb2.ApplyFlowsRequest:
        texts = [FLOW.format(id=f"other-{n}", name=name) for n in range(others)]
        texts.append(FLOW.format(id="f", name=name))
        return flow_pb2.ApplyFlowsRequest(
            files=[
                flow_pb2.FlowFile(file_name=f"{n}.yaml", content=text.encode())
                for n, text in enumerate(texts)
            ]
        )

    async with catalog_of(log) as catalog:
        applier = Applier(catalog, log, TOPICS, Secrets({}), component_types())
        servicer = FlowServicer(applier, None, None)  # type: ignore[arg-type] # not asked
        await asyncio.gather(
            servicer.ApplyFlows(asked("first", 40), None),  # type: ignore[arg-type]
            servicer.ApplyFlows(asked("second", 0), None),  # type: ignore[arg-type]
        )

        assert known(catalog) == {1: "first", 2: "second"}
