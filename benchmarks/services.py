"""The services on a real Kafka, side by side in one run: python -m benchmarks.services.

Compares a bare aiohttp handler (1.00) with ingress, router and broker as processes,
without an executor, and with one that runs every event through a `transform` beside them:
there the rate is that of events that have run. Each 2xx was acknowledged by the broker.
Rounds alternate, figures are medians; what an executor does after a round's end counts
among the round's microseconds.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.consumption import resident_mb
from benchmarks.line import line_on, paths, write_flows
from benchmarks.load import (
    CONNECTIONS,
    PATIENCE,
    Contender,
    Results,
    bare,
    measure,
    need_wrk,
    print_noise,
    print_rates,
    print_verdicts,
)
from tests.brokers import Broker, kafka_cluster

ALONE, RUNNING = "Kafka, no executor", "Kafka, transform running"
EXPECTED = {ALONE: 0.45, RUNNING: 0.12}
PROCESSES = ("server", "ingress", "router", "executor", "broker")


@contextmanager
def on_kafka(
    name: str, broker: Broker, directory: Path, *, flows: int, executor: bool
) -> Iterator[Contender]:
    """A line of its own on the broker that all share."""
    assert broker.pid is not None  # noqa: S101 - it answers
    write_flows(directory, flows)
    with line_on(broker.server, directory, executor=executor) as line:
        processes = {**line.processes, "broker": broker.pid}
        ran = None
        if executor:
            ran = partial(line.services["executor"].metric, "hookline_executions_total")
        yield Contender(name, line.services["ingress"].http, processes, ran)


def print_costs(contenders: Sequence[Contender], results: Results) -> None:
    """CPU microseconds an event, by process."""
    _print_line("CPU us an event", {name: name for name in PROCESSES})
    for contender in contenders:
        for connections in CONNECTIONS:
            costs = results[contender.name, connections].costs
            cells = {name: f"{median(each):.1f}" for name, each in costs.items()}
            _print_line(f"{contender.name:28}{connections:>8}", cells)


def print_memory(contenders: Sequence[Contender]) -> None:
    """Resident memory at the end, by process."""
    _print_line("resident MB at the end", {name: name for name in PROCESSES})
    for contender in contenders:
        pids = contender.processes
        cells = {name: f"{resident_mb(pid):.0f}" for name, pid in pids.items()}
        _print_line(contender.name, cells)


def _print_line(head: str, cells: Mapping[str, str]) -> None:
    print(f"{head:38}" + "".join(f"{cells.get(name, ''):>10}" for name in PROCESSES))


@contextmanager
def contending(flows: int) -> Iterator[Sequence[Contender]]:
    """The bare handler, and the line on one broker without and with an executor."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        [broker] = stack.enter_context(kafka_cluster(directory / "kafka")).brokers
        contenders = [stack.enter_context(bare())]
        for name, executor in ((ALONE, False), (RUNNING, True)):
            line = on_kafka(
                name, broker, directory / name, flows=flows, executor=executor
            )
            contenders.append(stack.enter_context(line))
        yield contenders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flows", type=int, default=200)
    parser.add_argument("--patience", type=float, default=0.0, help=PATIENCE)
    options = parser.parse_args()
    need_wrk()
    with contending(options.flows) as contenders:
        results = measure(
            contenders,
            paths(options.flows),
            rounds=options.rounds,
            seconds=options.seconds,
            patience_s=options.patience,
        )
        print_rates(contenders, results)
        print()
        print_costs(contenders, results)
        print()
        print_memory(contenders)
        print()
        print_noise(results)
        print_verdicts(EXPECTED, results)


if __name__ == "__main__":
    main()
