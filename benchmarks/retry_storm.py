"""Many executions that wait for their next attempt: python -m benchmarks.retry_storm.

On each log the first events of 500 flows fail again and again, with 50,000 events behind
them; and 2,000 executions of as many flows that have made 20 messages of one wait at the
first of these. Both are tried again every half minute for a while; then the other side
works again, and all of it runs to its end. Ends with 1 where an attempt came more than a
second after it was due, or before, where the process held more memory than it may, or
where anything ran out of order or not at all.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import splitting
from benchmarks.bulk import append_events
from benchmarks.consumption import peak_resident_mb
from benchmarks.grounds import GROUNDS, LOGS, Ground, Instance
from benchmarks.line import ENDED, write_flows
from benchmarks.target import Reply, answering
from benchmarks.written import Run, Written, written_in

AGAIN_S = 30
PATIENCE_S = 1800.0
LOOK_S = 1.0
MOST_MB = 300.0
MOST_LATE_S = 1.0
INTO = 20
FAILING = """
id: %s-{number}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:%s
  - id: call
    use: http.request
    with: {{url: "http://%s/%s-{number}"}}
    retry: {{maximum_attempts: 1000, initial_interval: %ds, maximum_interval: %ds}}
"""
SPLIT = """
  - id: split
    use: splitting
    with: {into: %d}"""


@dataclass(frozen=True, slots=True)
class Storm:
    """How many flows, and how many events behind the first of each that only fails."""

    failing: int
    behind: int
    splitting: int

    @property
    def events(self) -> int:
        return self.failing * (1 + self.behind) + self.splitting

    def flows(self) -> Iterator[str]:
        """The flow of each event."""
        for _ in range(1 + self.behind):
            yield from (f"failing-{number}" for number in range(self.failing))
        yield from (f"splitting-{number}" for number in range(self.splitting))


@dataclass(slots=True)
class Other:
    """The other side, in a thread: when each flow has asked, and whether it works."""

    works: bool = False
    asked_us: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def decide(self, path: str, reply: Reply) -> None:
        if not self.works:
            self.asked_us[path[1:]].append(time.time_ns() // 1000)
        reply(200 if self.works else 503)


@dataclass(frozen=True, slots=True)
class Lateness:
    """How long after it was due each further attempt came, in seconds, sorted."""

    late_s: Sequence[float]

    @property
    def good(self) -> bool:
        return self.late_s[0] >= 0 and self.late_s[-1] <= MOST_LATE_S

    def __str__(self) -> str:
        middle, last = self.late_s[len(self.late_s) // 2], self.late_s[-1]
        return (
            f"{len(self.late_s):,} further attempts came {middle * 1000:.0f} ms after "
            f"they were due in the middle, {last * 1000:.0f} ms at most (expected "
            f"{MOST_LATE_S * 1000:.0f})"
        )


def lateness(
    asked_us: Mapping[str, Sequence[int]], due_us: Mapping[str, Sequence[int]]
) -> Lateness:
    late = [
        (asked - due) / 1e6
        for flow, times in asked_us.items()
        for asked, due in zip(times[1:], due_us[flow], strict=False)
    ]
    return Lateness(sorted(late))


def in_order(runs: Sequence[Run], storm: Storm) -> bool:
    """Whether all have ended once, those of each flow in the log's order."""
    offsets: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        offsets[run.flow_id].append(run.offset)
    return len(runs) == storm.events and all(
        of_flow == sorted(set(of_flow)) for of_flow in offsets.values()
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {PATIENCE_S:g} s")
        threading.Event().wait(LOOK_S)  # a look costs the process that is looked at


def stormy(instance: Instance, other: Other, storm: Storm, rounds: int) -> float:
    """Let it fail so many times, then work; gives the most memory that was held, in MB."""

    def all_asked() -> bool:
        asked = [len(times) for times in other.asked_us.copy().values()]
        return len(asked) == storm.failing + storm.splitting and min(asked) > rounds

    wait_until(all_asked, "attempts")
    other.works = True
    wait_until(lambda: instance.runner.metric(ENDED) >= storm.events, "ends")
    return peak_resident_mb(instance.runner.pid)


def measure(ground: Ground, other: Other, storm: Storm, rounds: int) -> bool:
    with ground.running():
        pass  # the flows are applied, and the topics are there
    append_events(ground.log, ground.environment, storm.flows())
    with ground.running() as instance:
        peak_mb = stormy(instance, other, storm, rounds)
    written: Written = written_in(ground.log, ground.environment)
    late = lateness(other.asked_us, written.due_us)
    ordered = in_order(written.runs, storm)
    print(
        f"{ground.name}: {storm.failing + storm.splitting:,} executions in back-off, "
        f"{storm.failing * storm.behind:,} events behind them: {late}; memory at most "
        f"{peak_mb:.0f} MB (expected {MOST_MB:g}); "
        f"{'all ran in order' if ordered else 'NOT ALL, OR NOT IN ORDER'}"
    )
    return late.good and peak_mb <= MOST_MB and ordered


def write_all_flows(directory: Path, address: str, storm: Storm) -> None:
    for name, count, before in (
        ("failing", storm.failing, ""),
        (
            "splitting",
            storm.splitting,
            SPLIT.replace("{", "{{").replace("}", "}}") % INTO,
        ),
    ):
        text = FAILING % (name, before, address, name, AGAIN_S, AGAIN_S)
        write_flows(directory, count, text, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failing", type=int, default=500)
    parser.add_argument("--behind", type=int, default=100)
    parser.add_argument("--splitting", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log", action="append", choices=tuple(GROUNDS), help=LOGS)
    options = parser.parse_args()
    storm = Storm(options.failing, options.behind, options.splitting)
    good = True
    for name in options.log or GROUNDS:
        other = Other()
        with (
            tempfile.TemporaryDirectory() as directory,
            answering(other.decide) as address,
        ):
            write_all_flows(Path(directory) / "flows", address, storm)
            path = splitting.install(Path(directory) / "installed")
            with GROUNDS[name](Path(directory), PYTHONPATH=path) as ground:
                good &= measure(ground, other, storm, options.rounds)
    sys.exit(not good)


if __name__ == "__main__":
    main()
