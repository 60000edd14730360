"""How long a restart takes, after many events: python -m benchmarks.restart.

On each log 1,000,000 events of 200 flows are run, with 1,000 of 500 other flows among
them that do not end: their first step has been done, their second one fails and is tried
again. Events are put into the log directly; journal, checkpoints and commits are what a
real executor makes of them. It is killed. When what was unfinished is due, and the other
side works again, it is started anew: measured is the time from the start of its process
until it is ready, until the first step of what was unfinished runs, and until all of it
has ended. Ends with 1 where the first two take longer than 10 s, where anything that was
completed runs again, or where more memory is held than may be.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bulk import append_events
from benchmarks.consumption import peak_resident_mb, resident_mb
from benchmarks.grounds import GROUNDS, LOGS, Ground
from benchmarks.line import ENDED, FLOW, write_flows
from benchmarks.target import Reply, answering

MOST_S = 10.0
MOST_MB = 300.0
FLOWS = 200
STUCK_FLOWS = 500
AGAIN_S = 20
PATIENCE_S = 1800.0
SOME_S = 1.0
# A look costs the process that is measured.
LOOK_S = 0.02
STUCK = """
id: stuck-{number}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - id: first
    use: http.request
    with: {{url: "http://%s/first"}}
  - id: second
    use: http.request
    with: {{url: "http://%s/second"}}
    retry: {{maximum_attempts: 1000, initial_interval: %ds, maximum_interval: %ds}}
"""


@dataclass(slots=True)
class Other:
    """The other side: whether its second step works, and how often each was asked."""

    works: bool = False
    begun: float = 0.0
    asked: dict[str, int] = field(default_factory=lambda: {"/first": 0, "/second": 0})
    succeeded: int = 0

    def decide(self, path: str, reply: Reply) -> None:
        self.asked[path] += 1
        if path == "/second" and self.works:
            self.begun = self.begun or time.monotonic()
            self.succeeded += 1
        reply(200 if path == "/first" or self.works else 503)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a restart has shown; seconds are from the start of the process."""

    ready_s: float
    first_s: float
    all_s: float
    again: int
    resident_mb: float
    peak_mb: float

    @property
    def good(self) -> bool:
        late = max(self.ready_s, self.first_s) > MOST_S
        return not late and not self.again and self.peak_mb <= MOST_MB

    @property
    def text(self) -> str:
        return (
            f"ready after {self.ready_s:.1f} s, the first unfinished event runs after "
            f"{self.first_s:.1f} s, all have ended after {self.all_s:.1f} s; "
            f"{self.again} completed events ran again; resident "
            f"{self.resident_mb:.0f} MB, at most {self.peak_mb:.0f}; expected at most "
            f"{MOST_S:g} s, none, {MOST_MB:g} MB: "
            f"{'as expected' if self.good else 'SHORT'}"
        )


def order_of_events(completed: int, unfinished: int) -> Iterator[str]:
    """The flows of all events: those that do not end stand evenly among the others."""
    every = max(1, completed // unfinished)
    for number in range(completed):
        yield f"flow-{number % FLOWS}"
        if number % every == 0 and number // every < unfinished:
            yield f"stuck-{number // every % STUCK_FLOWS}"


def measure(ground: Ground, other: Other, completed: int, unfinished: int) -> Figures:
    begun = time.monotonic()
    with ground.running():
        pass  # the flows are applied, and the topics are there
    append_events(
        ground.log, ground.environment, order_of_events(completed, unfinished)
    )
    appended = time.monotonic()
    with ground.running() as instance:
        wait_until(lambda: instance.runner.metric(ENDED) >= completed)
        wait_until(lambda: other.asked["/first"] >= min(unfinished, STUCK_FLOWS))
        held_mb = resident_mb(instance.runner.pid)
        time.sleep(SOME_S)  # for commits and checkpoints, as at any moment
        os.kill(instance.runner.pid, signal.SIGKILL)
    print(
        f"{ground.name}: {completed:,} events completed and {unfinished:,} unfinished: "
        f"appended in {appended - begun:.0f} s, run in "
        f"{time.monotonic() - appended:.0f} s, the executor held {held_mb:.0f} MB",
        flush=True,
    )
    time.sleep(1.2 * AGAIN_S)  # what was unfinished falls due meanwhile
    other.works = True
    return restart(ground, other, unfinished)


def restart(ground: Ground, other: Other, unfinished: int) -> Figures:
    started = time.monotonic()
    with ground.running() as instance:
        ready = time.monotonic()
        wait_until(lambda: other.begun > 0)
        wait_until(lambda: instance.runner.metric(ENDED) >= unfinished)
        ended = time.monotonic()
        time.sleep(SOME_S)  # in which what has completed would run again
        pid = instance.runner.pid
        return Figures(
            ready - started,
            other.begun - started,
            ended - started,
            int(instance.runner.metric(ENDED)) - unfinished,
            resident_mb(pid),
            peak_resident_mb(pid),
        )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"this has not happened within {PATIENCE_S:g} s")
        time.sleep(LOOK_S)


def write_all_flows(directory: Path, address: str) -> None:
    write_flows(directory, FLOWS, FLOW)
    stuck = STUCK % (address, address, AGAIN_S, AGAIN_S)
    write_flows(directory, STUCK_FLOWS, stuck, "stuck")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--completed", type=int, default=1_000_000)
    parser.add_argument("--unfinished", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="50,000 completed ones")
    parser.add_argument("--log", action="append", choices=tuple(GROUNDS), help=LOGS)
    options = parser.parse_args()
    completed = 50_000 if options.quick else options.completed
    good = True
    for name in options.log or GROUNDS:
        other = Other()
        with (
            tempfile.TemporaryDirectory() as directory,
            answering(other.decide) as address,
        ):
            write_all_flows(Path(directory) / "flows", address)
            with GROUNDS[name](Path(directory)) as ground:
                figures = measure(ground, other, completed, options.unfinished)
        print(f"{ground.name}: {figures.text}")
        good &= figures.good
    sys.exit(not good)


if __name__ == "__main__":
    main()
