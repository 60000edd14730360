"""Two routers that know nothing of each other, and executors that come and go."""

from collections import Counter
from pathlib import Path

import pytest

from hookline.log.kafka import Durability
from hookline.v1 import execution_pb2
from tests.caller import Answer, call
from tests.instance import JSON
from tests.kafka_line import Line, line_on
from tests.processes import Service
from tests.waiting import until_asked

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]
COMPLETED = execution_pb2.STATUS_COMPLETED
DUPLICATE = execution_pb2.STATUS_DUPLICATE


async def send(ingress: Service, key: str, body: bytes) -> Answer:
    """A request with a key, which is accepted."""
    headers = [JSON, ("Idempotency-Key", key)]
    answer = await call(ingress.http, "POST", "/hook/flow-0", headers, body)
    assert answer.status == 200, answer.body
    return answer


async def ends(line: Line) -> list[execution_pb2.JournalEntry]:
    """All ends in the journal of the only partition."""
    async with line.log() as log:
        start, end = await log.bounds(line.topics.executions, 0)
        entries = [
            execution_pb2.JournalEntry.FromString(record.value or b"")
            async for batch in log.read(line.topics.executions, 0, start, end)
            for record in batch
        ]
    return [one for one in entries if one.HasField("ended")]


async def until_ended(line: Line, count: int) -> list[execution_pb2.JournalEntry]:
    """The ends, when there are so many."""
    found: list[execution_pb2.JournalEntry] = []

    async def ended() -> bool:
        found[:] = await ends(line)
        return len(found) >= count

    await until_asked(ended)
    return found


async def test_a_key_runs_once_whoever_takes_it(
    kafka_servers: tuple[str, ...], tmp_path: Path
) -> None:
    """Through another router, another executor, and one that was killed."""
    async with line_on(
        kafka_servers,
        tmp_path,
        flows=1,
        partitions=1,
        durability=Durability(1, 1),
        HOOKLINE_KAFKA__SESSION_TIMEOUT_S="6",
    ) as line:
        other_router = await line.start("router", "--grpc", "127.0.0.1:0")
        other = await line.start(
            "ingress", "--http", "127.0.0.1:0", "--router", other_router.grpc
        )
        await other.wait_ready()
        executor = await line.executor()
        first = await send(line.ingress, "a", b"1")
        again = await send(other, "a", b"1")
        await send(line.ingress, "b", b"2")
        await send(other, "b", b"3")
        await until_ended(line, 4)
        await send(line.ingress, "c", b"4")
        await executor.kill()

        await line.executor()
        await send(other, "c", b"4")
        known = await send(other, "c", b"4")
        found = await until_ended(line, 6)

    assert first.headers["x-event-id"] == again.headers["x-event-id"]
    assert "x-duplicate" not in again.headers
    assert known.headers["x-duplicate"] == "true"
    kinds = Counter((one.event_id, one.ended.status) for one in found)
    ids = {one.event_id for one in found}
    assert len(ids) == 3
    assert all(kinds[one, DUPLICATE] == 1 for one in ids)
    assert {one.ended.status for one in found} == {COMPLETED, DUPLICATE}
    conflicts = [one for one in found if one.ended.reason.startswith("conflict")]
    assert len(conflicts) == 1
