"""Whether flows in trouble hold the others up: python -m benchmarks.isolation.

On each log 200 flows get events at a steady rate, first alone; then beside a flow that
gets a hundred times as many, one whose step takes 10 s, one that always fails and waits
long for its next attempt, and one that is suspended with 100,000 events behind it. How
long the 200 flows' events take from their acceptance to their end is read from the log
afterwards. In the end the suspended flow is resumed. Ends with 1 where their p99 beside
the others is more than twice what it was alone, where the executor holds more memory than
it may, where commits fall behind, or where what was suspended does not run, in order.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import aiohttp
import uvloop

from benchmarks.bulk import append_events
from benchmarks.consumption import forget_peak, peak_resident_mb
from benchmarks.grounds import GROUNDS, LOGS, Ground, Instance
from benchmarks.line import FLOW, HOOKLINE, write_flows
from benchmarks.target import Reply, answering
from benchmarks.written import Run, written_in

FLOWS = 200
HOT_TIMES = 100
SLOW_S = 10.0
MOST_RATIO = 2.0
MOST_MB = 300.0
MOST_BEHIND_S = 60.0
PATIENCE_S = 900.0
LOOK_S = 1.0
AGE = "hookline_commit_age_seconds"
BODY = b'{"name": "Ada", "note": "%s"}' % (b"x" * 140)
HEADERS = {"content-type": "application/json"}
CALLING = """
id: %s
trigger: {webhook: {auth: {type: none}}}
steps:
  - id: call
    use: http.request
    with: {url: "http://%s/%s"}
    retry: {maximum_attempts: 1000, initial_interval: 10m, maximum_interval: 10m}
"""
SUSPENDED = "suspended-0"


@dataclass(frozen=True, slots=True)
class Rates:
    """Events a second: of the 200 flows together, and of each in trouble."""

    steady: float

    @property
    def hot(self) -> float:
        return HOT_TIMES * self.steady / FLOWS

    @property
    def others(self) -> float:
        return self.steady / FLOWS


@dataclass(slots=True)
class Watched:
    """What a phase has shown while it lasted; times in microseconds since 1970."""

    begun_us: int = 0
    ended_us: int = 0
    peak_mb: float = 0.0
    ages_s: list[float] = field(default_factory=list)

    def covers(self, run: Run) -> bool:
        return self.begun_us <= run.accepted_at_us < self.ended_us


def decide(path: str, reply: Reply) -> None:
    if path == "/slow":
        asyncio.get_running_loop().call_later(SLOW_S, reply, 200)
    else:
        reply(503)


def write_all_flows(directory: Path, address: str) -> None:
    write_flows(directory, FLOWS, FLOW)
    for name in ("hot", "suspended"):
        write_flows(directory, 1, FLOW.replace("flow-", f"{name}-"), name)
    for name in ("slow", "failing"):
        text = CALLING % (f"{name}-0", address, name)
        (directory / f"{name}-0.yaml").write_text(text)


async def send(http: str, streams: Sequence[tuple[Sequence[str], float]]) -> None:
    """Requests at steady rates, whatever the answers take, until cancelled."""
    connector = aiohttp.TCPConnector(limit=256)
    async with (
        aiohttp.ClientSession(connector=connector) as session,  # noqa: TID251 - the load
        asyncio.TaskGroup() as tasks,
    ):

        async def post(flow: str) -> None:
            url = f"http://{http}/hook/{flow}"
            async with session.post(url, data=BODY, headers=HEADERS) as answer:
                if answer.status >= 300:
                    sys.exit(f"{flow} answers {answer.status}: {await answer.text()}")

        async def stream(flows: Sequence[str], rate: float) -> None:
            begun, number = time.monotonic(), 0
            while True:
                number += 1
                await asyncio.sleep(begun + number / rate - time.monotonic())
                tasks.create_task(post(flows[number % len(flows)]))

        for flows, rate in streams:
            tasks.create_task(stream(flows, rate))


@contextmanager
def watching(instance: Instance) -> Iterator[Watched]:
    """Look at the process that runs events from time to time while the block runs."""
    watched, over = Watched(), threading.Event()
    pid = instance.runner.pid

    def look() -> None:
        while not over.wait(LOOK_S):
            watched.ages_s.append(instance.runner.metric(AGE))

    forget_peak(pid)
    looking = threading.Thread(target=look)
    looking.start()
    watched.begun_us = time.time_ns() // 1000
    try:
        yield watched
    finally:
        watched.ended_us = time.time_ns() // 1000
        over.set()
        looking.join()
        watched.peak_mb = peak_resident_mb(pid)


def sending(
    instance: Instance, rates: Rates, seconds: float, *, trouble: bool
) -> Watched:
    streams: list[tuple[Sequence[str], float]] = [
        ([f"flow-{number}" for number in range(FLOWS)], rates.steady)
    ]
    if trouble:
        streams.append((["hot-0"], rates.hot))
        streams += [([name], rates.others) for name in ("slow-0", "failing-0")]
        streams.append(([SUSPENDED], rates.others))

    async def for_some_time() -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(instance.http, streams)
        except TimeoutError:
            return

    with (
        watching(instance) as watched,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(for_some_time())
    return watched


def flows_command(ground: Ground, instance: Instance, word: str) -> None:
    subprocess.run(
        [HOOKLINE, "flows", word, SUSPENDED, "--router", instance.router],
        env=dict(ground.environment),
        check=True,
        capture_output=True,
    )


def resumed(ground: Ground, instance: Instance, events: int) -> Watched:
    """Let what was suspended run; tells what that took."""
    ended = instance.runner.metric("hookline_executions_total")
    with watching(instance) as watched:
        flows_command(ground, instance, "resume")
        deadline = time.monotonic() + PATIENCE_S
        while instance.runner.metric("hookline_executions_total") - ended < events:
            if time.monotonic() > deadline:
                sys.exit(f"the suspended flow has not run within {PATIENCE_S:g} s")
            time.sleep(LOOK_S)  # a look costs the process that is looked at
    return watched


def p99_ms(runs: Sequence[Run], watched: Watched) -> float:
    took = [
        run.took_ms
        for run in runs
        if run.flow_id.startswith("flow-") and watched.covers(run)
    ]
    return quantiles(took, n=100)[98]


def in_order(runs: Sequence[Run], events: int) -> bool:
    """Whether each event of the suspended flow has ended once, in the log's order."""
    offsets = [run.offset for run in runs if run.flow_id == SUSPENDED]
    return len(offsets) >= events and offsets == sorted(set(offsets))


def measure(ground: Ground, rates: Rates, seconds: float, behind: int) -> bool:
    with ground.running() as instance:
        sending(instance, rates, min(seconds, 5), trouble=False)  # a warm-up
        alone = sending(instance, rates, seconds, trouble=False)
        flows_command(ground, instance, "suspend")
    append_events(ground.log, ground.environment, [SUSPENDED] * behind)
    with ground.running() as instance:
        sending(instance, rates, min(seconds, 5), trouble=False)
        beside = sending(instance, rates, seconds, trouble=True)
        after = resumed(ground, instance, behind)
    runs = written_in(ground.log, ground.environment).runs
    phases = Phases(alone, beside, after)
    return phases.judged(ground.name, runs, behind)


@dataclass(frozen=True, slots=True)
class Phases:
    """The 200 flows alone, beside those in trouble, and what came after the resume."""

    alone: Watched
    beside: Watched
    after: Watched

    def judged(self, name: str, runs: Sequence[Run], behind: int) -> bool:
        """Print what was found; tells whether all of it is as expected."""
        alone_ms, beside_ms = p99_ms(runs, self.alone), p99_ms(runs, self.beside)
        peak_mb = max(self.beside.peak_mb, self.after.peak_mb)
        behind_s = max(self.beside.ages_s, default=0.0)
        ordered = in_order(runs, behind)
        took_s = (self.after.ended_us - self.after.begun_us) / 1e6
        print(
            f"{name}: p99 of {FLOWS} flows {alone_ms:.1f} ms alone, {beside_ms:.1f} ms "
            f"beside flows in trouble ({beside_ms / alone_ms:.2f}, expected at most "
            f"{MOST_RATIO:g}); memory at most {peak_mb:.0f} MB (expected {MOST_MB:g}); "
            f"what commits waited for at most {behind_s:.1f} s old "
            f"(expected {MOST_BEHIND_S:g}); the suspended {behind:,} ran in "
            f"{took_s:.0f} s, {'in order' if ordered else 'NOT IN ORDER'}"
        )
        return (
            beside_ms <= MOST_RATIO * alone_ms
            and peak_mb <= MOST_MB
            and behind_s <= MOST_BEHIND_S
            and ordered
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--behind", type=int, default=100_000)
    parser.add_argument("--log", action="append", choices=tuple(GROUNDS), help=LOGS)
    options = parser.parse_args()
    good = True
    for name in options.log or GROUNDS:
        with (
            tempfile.TemporaryDirectory() as directory,
            answering(decide) as address,
        ):
            write_all_flows(Path(directory) / "flows", address)
            with GROUNDS[name](Path(directory)) as ground:
                rates = Rates(options.rate)
                good &= measure(ground, rates, options.seconds, options.behind)
    sys.exit(not good)


if __name__ == "__main__":
    main()
