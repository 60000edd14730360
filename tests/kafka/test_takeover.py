"""An executor on Kafka is frozen in the middle of steps, and another one takes over."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from hookline.log.kafka import Durability
from hookline.v1 import execution_pb2
from tests.caller import call
from tests.instance import JSON
from tests.kafka_line import Line, line_on
from tests.other_system import another_system, calling
from tests.processes import run
from tests.waiting import until, until_asked

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]
ONE = Durability(1, 1)


async def journal(line: Line) -> list[execution_pb2.JournalEntry]:
    """All that the journal of the only partition says."""
    async with line.log() as log:
        _, end = await log.bounds(line.topics.executions, 0)
        return [
            execution_pb2.JournalEntry.FromString(record.value or b"")
            async for batch in log.read(line.topics.executions, 0, 0, end)
            for record in batch
        ]


def ends(entries: Sequence[execution_pb2.JournalEntry], flow_id: str) -> list[int]:
    """Under which epochs a flow's events have ended."""
    return [e.epoch for e in entries if e.flow_id == flow_id and e.HasField("ended")]


async def send(line: Line, flow_id: str) -> None:
    answer = await call(line.ingress.http, "POST", f"/hook/{flow_id}", [JSON], b"{}")
    assert answer.status == 200


async def test_a_new_owner_goes_on_where_the_frozen_one_was(
    kafka_servers: tuple[str, ...], tmp_path: Path
) -> None:
    """Done steps and ended events do not run again; the woken one's end is ignored."""
    async with (
        another_system() as other,
        line_on(
            kafka_servers,
            tmp_path,
            flows=1,
            partitions=1,
            durability=ONE,
            HOOKLINE_KAFKA__SESSION_TIMEOUT_S="6",
        ) as line,
    ):
        other.hangs = lambda one: one.step == "second" and len(other.calls) < 6
        other.statuses["failing"] = [503, 400]
        flows = {
            "stuck": calling(other.url, "first", "second", flow="stuck"),
            "quick": calling(other.url, "quick", flow="quick"),
            "failing": calling(other.url, "failing", flow="failing").replace(
                "1ms", "15s"
            ),
        }
        for flow_id, flow in flows.items():
            (tmp_path / f"{flow_id}.yaml").write_text(flow)
        code, _, err = await run(
            *("apply", "-f", str(tmp_path), "--router", line.router.grpc),
            environment=line.environment,
        )
        assert code == 0, err
        frozen = await line.executor()
        await send(line, "stuck")
        await until(lambda: "second" in other.steps())
        for flow_id in ("failing", "quick", "quick"):
            await send(line, flow_id)

        async def two_have_ended() -> bool:
            entries = await journal(line)
            failed = any(entry.progress.HasField("failed") for entry in entries)
            return failed and ends(entries, "quick") == [1, 1]

        await until_asked(two_have_ended)
        os.kill(frozen.process.pid, signal.SIGSTOP)
        await line.executor()

        async def stuck_has_ended() -> bool:
            return ends(await journal(line), "stuck") == [2]

        await until_asked(stuck_has_ended)
        os.kill(frozen.process.pid, signal.SIGCONT)
        other.over.set()

        async def woken_one_has_written() -> bool:
            return ends(await journal(line), "stuck") == [2, 1]

        await until_asked(woken_one_has_written)

        async def all_have_ended() -> bool:
            return bool(ends(await journal(line), "failing"))

        await until_asked(all_have_ended)
        entries = await journal(line)

    assert other.steps().count("first") == 1
    assert other.steps().count("second") == 2
    assert other.steps().count("quick") == 2
    [failing] = [e for e in entries if e.flow_id == "failing" and e.HasField("ended")]
    assert failing.ended.attempts == other.steps().count("failing") == 2
