"""Events that have run, a second, with the journal on: python -m benchmarks.executions.

Compares a bare aiohttp handler (1.00) at 256 connections with 200 flows of one transform,
and of one transform and one local HTTP step: in `hookline up`, and on Kafka, where broker,
ingress, router, one executor and the load share the cores. A rate is that of events whose
end was written down while the load was on; beside it, the rate until the last one of a
round had ended. Rounds alternate; a ratio is that to the bare one of the same round, and
what is judged is the median. Ends with 1 where one is short.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.line import (
    CALL,
    ENDED,
    FLOW,
    LOCAL,
    line_on,
    paths,
    up_in,
    write_flows,
)
from benchmarks.load import (
    PATIENCE,
    Contender,
    Results,
    bare,
    free_port,
    measure,
    need_wrk,
    print_noise,
    print_verdicts,
    ratios,
    started,
)
from tests.brokers import Broker, kafka_cluster

CONNECTIONS = 256
FLOWS = 200
EXPECTED = {"up: transform": 0.35, "Kafka: transform": 0.12}
PARTS = (
    "server",
    "loop",
    "threads",
    "ingress",
    "router",
    "executor",
    "broker",
    "target",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What each of the flows does, and the process that it calls."""

    name: str
    flow: str
    target: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def up_running(kind: Kind, directory: Path) -> Iterator[Contender]:
    """`hookline up` with its executor."""
    write_flows(directory / "flows", FLOWS, kind.flow)
    with up_in(directory, HOOKLINE_EGRESS__ALLOW=LOCAL) as up:
        ran = partial(up.metric, ENDED)
        processes = {"up": up.pid, **kind.target}
        yield Contender(f"up: {kind.name}", up.http, processes, ran, by_thread="up")


@contextmanager
def kafka_running(kind: Kind, directory: Path, broker: Broker) -> Iterator[Contender]:
    """Ingress, router and one executor on a broker that is there."""
    assert broker.pid is not None  # noqa: S101 - it answers
    write_flows(directory, FLOWS, kind.flow)
    allowed = {"HOOKLINE_EGRESS__ALLOW": LOCAL}
    with line_on(broker.server, directory, executor=True, **allowed) as line:
        ran = partial(line.services["executor"].metric, ENDED)
        processes = {**line.processes, "broker": broker.pid, **kind.target}
        http = line.services["ingress"].http
        yield Contender(f"Kafka: {kind.name}", http, processes, ran)


@contextmanager
def contending(logs: Sequence[str]) -> Iterator[Sequence[Contender]]:
    """The bare handler, and both kinds of flows on each log."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds = [Kind("transform", FLOW), stack.enter_context(calling())]
        contenders = [stack.enter_context(bare())]
        if "up" in logs:
            for number, kind in enumerate(kinds):
                up = up_running(kind, directory / f"up-{number}")
                contenders.append(stack.enter_context(up))
        if "kafka" in logs:
            [broker] = stack.enter_context(kafka_cluster(directory / "kafka")).brokers
            for number, kind in enumerate(kinds):
                line = kafka_running(kind, directory / f"kafka-{number}", broker)
                contenders.append(stack.enter_context(line))
        yield contenders


@contextmanager
def calling() -> Iterator[Kind]:
    """Flows with an HTTP step, and the server that it calls."""
    port = free_port()
    with started([sys.executable, "-m", "benchmarks.target", str(port)]) as (pid, _):
        flow = FLOW + CALL % f"127.0.0.1:{port}"
        yield Kind("transform, HTTP", flow, {"target": pid})


def print_executed(contenders: Sequence[Contender], results: Results) -> None:
    """A line each: accepted, run, run until all had ended; and what each part took."""
    print(
        f"{f'{CONNECTIONS} connections':26}{'accepted/s':>11}{'run/s':>8}{'of bare':>9}"
        f"{'best':>6}{'all run/s':>11}   CPU us an event"
    )
    for contender in contenders:
        found = results[contender.name, CONNECTIONS]
        ratio = ratios(contender.name, results, CONNECTIONS)
        ended = f"{median(found.ended):,.0f}" if found.ended else ""
        costs = "  ".join(
            f"{part} {median(found.costs[part]):.0f}"
            for part in PARTS
            if part in found.costs
        )
        print(
            f"{contender.name:26}{median(found.accepted):>11,.0f}{found.rate:>8,.0f}"
            f"{median(ratio):>9.2f}{max(ratio):>6.2f}{ended:>11}   {costs}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of 2 seconds")
    parser.add_argument("--patience", type=float, default=0.0, help=PATIENCE)
    parser.add_argument(
        "--log", action="append", choices=("up", "kafka"), help="both if none is named"
    )
    options = parser.parse_args()
    need_wrk()
    with contending(options.log or ("up", "kafka")) as contenders:
        results = measure(
            contenders,
            paths(FLOWS),
            rounds=1 if options.quick else options.rounds,
            seconds=2 if options.quick else options.seconds,
            patience_s=options.patience,
            counts=(CONNECTIONS,),
        )
        print_executed(contenders, results)
        print()
        print_noise(results)
        names = {one.name for one in contenders}
        expected = {name: least for name, least in EXPECTED.items() if name in names}
        good = print_verdicts(expected, results)
    sys.exit(not good)


if __name__ == "__main__":
    main()
