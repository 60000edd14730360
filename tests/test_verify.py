"""`hookline verify`: what it counts, and that it tells the truth of a running product."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from hookline.cli.verdict import Ledger, Trace, judge
from hookline.v1 import execution_pb2
from tests.broker_files import free_ports
from tests.faults import planted
from tests.faults.kafka_scenario import ONE
from tests.faults.subject import subject_of
from tests.kafka_line import line_on
from tests.processes import run

Plant = Callable[[Ledger], None]
RAN = "hookline_executions_total"


def accepted(number: int) -> Trace:
    return Trace(f"e{number}", "f", number, 0.001 * number)


def event(number: int, offset: int | None = None) -> execution_pb2.EventSummary:
    return execution_pb2.EventSummary(
        event_id=f"e{number}",
        flow_id="f",
        accepted_at_us=1_000 * number,
        offset=number if offset is None else offset,
    )


def end(number: int, started_at_us: int) -> execution_pb2.EventSummary:
    summary = event(number)
    summary.accepted_at_us = 0
    summary.ended.started_at_us = started_at_us
    summary.ended.ended_at_us = started_at_us + 50
    return summary


def clean() -> Ledger:
    """Three events of one flow; the end of the last is told before its answer."""
    ledger = Ledger(sent=3)
    ledger.take(event(2))
    ledger.take(end(2, 2_100))
    for number in range(3):
        ledger.accept(accepted(number))
        ledger.take(event(number))
        ledger.take(end(number, 1_000 * number + 100))
    return ledger


def lose(ledger: Ledger) -> None:
    ledger.traces["e1"].runs.clear()


def swap(ledger: Ledger) -> None:
    ledger.traces["e1"].offset = 7


def overlap(ledger: Ledger) -> None:
    ledger.take(end(2, 1_120))


def repeat(ledger: Ledger) -> None:
    ledger.take(end(0, 9_000))


@pytest.mark.parametrize(
    ("plant", "lost", "reordered", "duplicated"),
    [
        (lambda _: None, 0, 0, 0),
        (lose, 1, 0, 0),
        (swap, 0, 1, 0),
        (overlap, 0, 1, 1),
        (repeat, 0, 0, 1),
    ],
    ids=["clean", "lost", "swapped", "overlapping", "repeated"],
)
def test_the_verdict_counts_what_went_wrong(
    plant: Plant, lost: int, reordered: int, duplicated: int
) -> None:
    """Lost and reordered make it a bad one; what ran twice is counted only."""
    ledger = clean()
    plant(ledger)
    verdict = judge(ledger)
    found = verdict.lost, verdict.reordered, verdict.duplicated
    assert found == (lost, reordered, duplicated)
    assert verdict.good is not bool(lost or reordered)
    assert verdict.completed_ms


class Size(NamedTuple):
    """How much is sent; what runs events is killed so often, each time after so many."""

    events: int
    flows: int
    rate: int
    kills: int
    after: int


async def verified(
    size: Size,
    http: str,
    router: str,
    faults: Awaitable[None],
    environment: Mapping[str, str],
) -> dict[str, int]:
    """Run the command, and faults meanwhile; gives its report."""
    words = ["verify", "--events", str(size.events), "--flows", str(size.flows)]
    words += ["--rate", str(size.rate)]
    places = ("--url", f"http://{http}", "--router", router, "--output", "json")
    (code, out, err), _ = await asyncio.gather(
        run(*words, *places, environment=environment), faults
    )
    assert code == 0, (out, err)
    report: dict[str, int] = msgspec.json.decode(out)
    print(out)  # noqa: T201 - shown with -s
    assert report["sent"] == size.events
    assert report["accepted"] + report["unknown"] == size.events
    assert (report["lost"], report["reordered"]) == (0, 0)
    return report


# Some of it in each run of the tests, and as much as the command sends by itself.
SIZES = [
    pytest.param(Size(3_000, 10, 150, 3, 100), id="some"),
    pytest.param(
        Size(20_000, 50, 150, 8, 1_500),
        id="whole",
        marks=[pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(600)],
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_nothing_is_lost_or_reordered_while_the_one_process_is_killed(
    size: Size, tmp_path: Path
) -> None:
    """The command goes on, and finds out what it could not see meanwhile."""
    async with subject_of(tmp_path, tmp_path / "flows") as subject:

        async def kill() -> None:
            for _ in range(size.kills):
                await subject.service.wait_metric(RAN, size.after)
                await subject.kill()
                await subject.start()

        environment = {"HOOKLINE_DATA": str(subject.data)}
        report = await verified(
            size, subject.address, subject.router, kill(), environment
        )
    assert report["unknown"]


@pytest.mark.slow
async def test_what_is_lost_is_told_and_the_command_fails(tmp_path: Path) -> None:
    """By a product that says it has an event before it has it."""
    build = (sys.executable, planted.__file__, "ack-before-append")
    async with subject_of(tmp_path, tmp_path / "flows", build) as subject:
        words = ("verify", "--events", "600", "--flows", "5", "--wait", "2")
        places = ("--url", f"http://{subject.address}", "--router", subject.router)
        data = {"HOOKLINE_DATA": str(subject.data)}

        async def kill() -> None:
            await subject.service.wait_metric(RAN, 50)
            await subject.kill()
            await subject.start()

        (code, out, err), _ = await asyncio.gather(
            run(*words, *places, environment=data), kill()
        )
    assert code == 1, err
    [lost] = [line for line in out.splitlines() if line.startswith("lost")]
    assert int(lost.split()[1]) > 0


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_nothing_is_lost_or_reordered_while_executors_on_kafka_are_killed(
    size: Size, kafka_servers: Sequence[str], tmp_path: Path
) -> None:
    """Every event is accepted; those that were running run again elsewhere."""
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    async with line_on(
        kafka_servers,
        tmp_path,
        flows=1,
        durability=ONE,
        HOOKLINE_KAFKA__SESSION_TIMEOUT_S="6",
        HOOKLINE_ROUTER__CONSOLE=address,
    ) as line:
        await line.start("console", "--grpc", address, "--data", str(tmp_path / "c"))

        async def kill() -> None:
            for _ in range(size.kills):
                await line.services[-1].wait_metric(RAN, size.after)
                await line.services[-1].kill()
                await line.executor()

        await line.executor()
        report = await verified(
            size, line.ingress.http, line.router.grpc, kill(), line.environment
        )
    assert report["accepted"] == size.events
