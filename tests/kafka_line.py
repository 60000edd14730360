"""The whole line on Kafka, each service a process of its own, and a load on it.

What became of events is read from the journal, which says when each execution has started
and ended.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from hookline.log import Log
from hookline.log.kafka import Cluster, Durability, create_topics, open_log
from hookline.topics import Topics
from hookline.v1 import execution_pb2
from services.executor.serve import GROUP
from tests.caller import Answer, read_answer, request_bytes
from tests.instance import JSON
from tests.processes import Service, run, service
from tests.waiting import until

TOKENS = {
    "HOOKLINE_ROUTER__TOKENS": "inner",
    "HOOKLINE_ROUTER__EDGE_TOKENS": "edge",
    "HOOKLINE_INGRESS__ROUTER_TOKEN": "edge",
    "HOOKLINE_TOKEN": "inner",
}
FLOW = """
id: flow-{number}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body.n}}}}]
"""


class Execution(NamedTuple):
    """How an execution has ended, as the journal has it."""

    number: int
    started_at_us: int
    ended_at_us: int


@dataclass(slots=True)
class Line:
    """Running services, and how they are found."""

    kafka: Cluster
    topics: Topics
    durability: Durability
    environment: dict[str, str]
    flow_ids: Sequence[str]
    stack: AsyncExitStack
    services: list[Service] = field(default_factory=list)
    ingress: Service = field(init=False)
    router: Service = field(init=False)

    async def start(self, *arguments: str, failpoints: str = "") -> Service:
        """Start a service more; it ends with the line."""
        environment = {**self.environment, "HOOKLINE_FAILPOINTS": failpoints}
        starting = service(*arguments, environment=environment)
        started = await self.stack.enter_async_context(starting)
        self.services.append(started)
        return started

    async def executor(self) -> Service:
        """Start an executor."""
        return await self.start("executor")

    @asynccontextmanager
    async def log(self) -> AsyncIterator[Log]:
        """The log itself, to look into it."""
        async with open_log(
            self.kafka, self.topics.all, durability=self.durability
        ) as log:
            yield log

    async def executions(self, log: Log) -> dict[str, list[Execution]]:
        """How executions have ended, by flow."""
        found: dict[str, list[Execution]] = defaultdict(list)
        topic = self.topics.executions
        for partition in range(topic.partitions):
            _, end = await log.bounds(topic, partition)
            async for batch in log.read(topic, partition, 0, end):
                for record in batch:
                    entry = execution_pb2.JournalEntry.FromString(record.value or b"")
                    if not entry.HasField("ended"):
                        continue
                    if entry.ended.status == execution_pb2.STATUS_DUPLICATE:
                        continue  # a lost answer left it in the log twice: it ran once
                    ended = entry.ended
                    found[entry.flow_id].append(
                        Execution(
                            msgspec.json.decode(ended.result),
                            ended.started_at_us,
                            ended.ended_at_us,
                        )
                    )
        return found


def _keeping(number: int) -> str:
    return FLOW.format(number=number)


@asynccontextmanager
async def line_on(
    servers: Sequence[str],
    directory: Path,
    *,
    flows: int,
    partitions: int = 12,
    durability: Durability = Durability(),  # noqa: B008 - frozen
    flow_of: Callable[[int], str] = _keeping,
    **environment: str,
) -> AsyncIterator[Line]:
    """An ingress and a router on a Kafka, with flows applied; no executor yet."""
    kafka = Cluster(tuple(servers), prefix=f"{uuid.uuid4().hex}.")
    topics = Topics.with_partitions(partitions)
    await create_topics(kafka, topics.all, durability, groups={GROUP: topics.events})
    settings = {
        **TOKENS,
        "HOOKLINE_LOG": f"kafka://{','.join(servers)}",
        "HOOKLINE_LOG__PARTITIONS": str(partitions),
        "HOOKLINE_KAFKA__TOPIC_PREFIX": kafka.prefix,
        "HOOKLINE_KAFKA__REPLICATION": str(durability.replication),
        "HOOKLINE_KAFKA__MIN_INSYNC": str(durability.min_insync),
        **environment,
    }
    flow_ids = [f"flow-{number}" for number in range(flows)]
    async with AsyncExitStack() as stack:
        line = Line(kafka, topics, durability, settings, flow_ids, stack)
        line.router = await line.start("router", "--grpc", "127.0.0.1:0")
        line.ingress = await line.start(
            "ingress", "--http", "127.0.0.1:0", "--router", line.router.grpc
        )
        await _apply(line, directory, flow_of)
        await line.ingress.wait_ready()
        yield line


async def _apply(line: Line, directory: Path, flow_of: Callable[[int], str]) -> None:
    for number in range(len(line.flow_ids)):
        (directory / f"{number}.yaml").write_text(flow_of(number))
    code, _, err = await run(
        *("apply", "-f", str(directory), "--router", line.router.grpc),
        environment=line.environment,
    )
    assert code == 0, err


class Refusal(NamedTuple):
    """An answer that was no 2xx."""

    status: int
    after_s: float


@dataclass(slots=True)
class Load:
    """Callers, one a flow; each sends numbered events one after another, at a rate."""

    line: Line
    a_second: float
    accepted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    accepted_at: list[tuple[float, float]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    lost_connections: int = 0

    @property
    def count(self) -> int:
        """How many were accepted."""
        return len(self.accepted_at)

    async def until_more(self, more: int, seconds: float = 60.0) -> None:
        """Return when so many more have been accepted."""
        goal = self.count + more
        await until(lambda: self.count >= goal, seconds)

    async def call(self, flow_id: str) -> None:
        """Send until cancelled."""
        host, _, port = self.line.ingress.http.rpartition(":")
        loop = asyncio.get_running_loop()
        number, due = 0, loop.time()
        while True:
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                while True:
                    due += 1 / self.a_second
                    await asyncio.sleep(due - loop.time())
                    writer.write(_request(flow_id, number))
                    begun = loop.time()
                    self._note(flow_id, number, begun, await read_answer(reader))
                    number += 1
            except (OSError, asyncio.IncompleteReadError):
                self.lost_connections += 1
                number += 1
            finally:
                writer.close()

    def _note(self, flow_id: str, number: int, begun: float, answer: Answer) -> None:
        now = asyncio.get_running_loop().time()
        if answer.status == 200:
            self.accepted[flow_id].append(number)
            self.accepted_at.append((begun, now))
        else:
            self.refused.append(Refusal(answer.status, now - begun))


def _request(flow_id: str, number: int) -> bytes:
    return request_bytes("POST", f"/hook/{flow_id}", [JSON], b'{"n": %d}' % number)


@asynccontextmanager
async def under_load(
    line: Line, events_a_second: float, flow_ids: Sequence[str] | None = None
) -> AsyncIterator[Load]:
    """Have callers send while the block runs."""
    flow_ids = flow_ids or line.flow_ids
    load = Load(line, events_a_second / len(flow_ids))
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(load.call(flow_id)) for flow_id in flow_ids]
        try:
            yield load
        finally:
            for caller in callers:
                caller.cancel()


async def assert_all_ran_in_order(line: Line, load: Load, seconds: float = 90) -> int:
    """Every accepted event has run; first occurrences in order, none over another.

    Gives the number of executions that were repeats.
    """
    async with line.log() as log, asyncio.timeout(seconds):
        while lost := _missing(load, ran := await line.executions(log)):
            assert lost
    repeats = 0
    for executions in ran.values():
        # By their starts: an end that the log did not take at once stands later in it.
        executions.sort(key=lambda one: one.started_at_us)
        firsts = {one.number: one for one in reversed(executions)}
        in_order = list(dict.fromkeys(one.number for one in executions))
        assert in_order == sorted(in_order)
        repeats += len(executions) - len(in_order)
        for before, after in pairwise(firsts[number] for number in in_order):
            assert after.started_at_us >= before.ended_at_us
    return repeats


def _missing(load: Load, ran: dict[str, list[Execution]]) -> dict[str, set[int]]:
    return {
        flow_id: lost
        for flow_id, numbers in load.accepted.items()
        if (lost := set(numbers) - {one.number for one in ran.get(flow_id, ())})
    }
