"""Load on servers side by side: rounds alternate, figures are medians.

A noisy machine is noisy for all contenders alike, so ratios say more than rates do.
"""

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.consumption import (
    cpu_s,
    machine_busy_s,
    resident_mb,
    threads_cpu_s,
    ticks,
)

BARE = "bare aiohttp"
CONNECTIONS = (64, 256)
LUA = """
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"name": "Ada", "note": "%s"}'
local requests, at = {}, 0
init = function()
  for path in ("%s"):gmatch("%%S+") do
    requests[#requests + 1] = wrk.format("POST", path)
  end
end
request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""
CORES = os.cpu_count() or 1
# While others take more than this part of the machine, figures say little.
NOISE = 0.10
DRAIN_S = 120.0
# A look at what has run costs the process that is measured.
LOOK_S = 0.05
PATIENCE = "seconds to wait before each round for a machine that others use"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server under load: where it listens, and its processes by name.

    Where there is `ran`, which tells how many executions have ended, its rate is that of
    events that have run while the load was on, not of those that were accepted.
    """

    name: str
    address: str
    processes: Mapping[str, int]
    ran: Callable[[], float] | None = None
    # What of it is told thread by thread: where one process is all there is.
    by_thread: str = ""

    def cpu_s(self) -> dict[str, float]:
        """What each process has consumed so far."""
        spent = {name: cpu_s(pid) for name, pid in self.processes.items()}
        if self.by_thread:
            del spent[self.by_thread]
            spent |= threads_cpu_s(self.processes[self.by_thread])
        return spent


@dataclass(slots=True)
class Rounds:
    """What a contender has shown at a number of connections."""

    rates: list[float] = field(default_factory=list)
    # Requests a second; of what runs them, until the last one has ended, too.
    accepted: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    p99s_ms: list[float] = field(default_factory=list)
    # CPU microseconds a request, by process.
    costs: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    # The part of the machine that neither the contender nor the load had.
    noise: list[float] = field(default_factory=list)
    requests: int = 0

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def p99_ms(self) -> float:
        return median(self.p99s_ms)


Results = Mapping[tuple[str, int], Rounds]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def need_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("the benchmark's load comes from wrk: apt-get install wrk")


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, str]]:
    """Run a server; gives its process id and the first line that it prints."""
    with tempfile.TemporaryFile("w+") as log, Path("/dev/null").open("w") as nowhere:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        first = process.stdout.readline()
        # Its lines are read, as a terminal or a collector would.
        reader = subprocess.Popen(["cat"], stdin=process.stdout, stdout=nowhere)
        try:
            if not first:
                process.wait(30)
                log.seek(0)
                sys.exit(f"{' '.join(command)} has ended:\n{log.read()}")
            yield process.pid, first
        finally:
            process.terminate()
            process.wait(30)
            reader.wait(30)


@contextmanager
def bare() -> Iterator[Contender]:
    """The reference: an aiohttp handler that keeps nothing."""
    port = free_port()
    with started([sys.executable, "-m", "benchmarks.bare", str(port)]) as (pid, _):
        yield Contender(BARE, f"127.0.0.1:{port}", {"server": pid})


@contextmanager
def load_script(paths: Sequence[str]) -> Iterator[Path]:
    """What wrk sends: a body of about 180 bytes, to these paths in turn."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % ("x" * 140, " ".join(paths)))
        script.flush()
        yield Path(script.name)


def wrk(
    address: str,
    connections: int,
    seconds: int,
    script: Path,
    *,
    all_refused: bool = False,
) -> tuple[float, int, float]:
    """Requests a second, requests, and the latency at p99 in ms; all were 2xx, or none."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["--timeout", "20s"]
    command += ["-s", str(script), f"http://{address}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    total = re.search(r"(\d+) requests in", out)
    wanted = total[1] if total and all_refused else "0"
    if (refused[1] if refused else "0") != wanted or "Socket errors" in out:
        sys.exit(f"{address} should have refused {wanted} requests:\n{out}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    if rate is None or total is None or p99 is None:
        sys.exit(f"this is not what wrk prints:\n{out}")
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    return float(rate[1]), int(total[1]), float(p99[1]) * unit


def wait_until_idle(pids: Sequence[int]) -> None:
    """Let what is still to be done be done, so that rounds do not share a core."""
    before = -1000
    # What a process does while it waits is a few ticks.
    while (now := sum(map(ticks, pids))) - before > 2 + 2 * len(pids):
        before = now
        time.sleep(0.5)


def wait_until_quiet(seconds: float) -> None:
    """Wait for so long at most until others leave the machine to us."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = machine_busy_s()
        time.sleep(0.5)
        if machine_busy_s() - before < NOISE * CORES * 0.5:
            return


def measure(
    contenders: Sequence[Contender],
    paths: Sequence[str],
    *,
    rounds: int,
    seconds: int,
    patience_s: float = 0.0,
    counts: Sequence[int] = CONNECTIONS,
) -> Results:
    """Put load on each in turn, at each number of connections, after a warm-up."""
    results: dict[tuple[str, int], Rounds] = defaultdict(Rounds)
    with load_script(paths) as script:
        for contender in contenders:
            wrk(contender.address, 64, 1, script)
        for _ in range(rounds):
            for connections in counts:
                for contender in contenders:
                    wait_until_idle(list(contender.processes.values()))
                    wait_until_quiet(patience_s)
                    found = results[contender.name, connections]
                    _measure_once(contender, connections, seconds, script, found)
    return results


def _measure_once(
    contender: Contender, connections: int, seconds: int, script: Path, found: Rounds
) -> None:
    begun, busy, own = time.monotonic(), machine_busy_s(), contender.cpu_s()
    load = _children_s()
    before = contender.ran() if contender.ran else 0.0
    rate, requests, p99_ms = wrk(contender.address, connections, seconds, script)
    found.accepted.append(rate)
    if contender.ran:
        ended = contender.ran() - before
        rate = ended / (requests / rate)
        _wait_until_ran(contender.ran, before + requests)
        found.ended.append(requests / (time.monotonic() - begun))
    wait_until_idle(list(contender.processes.values()))
    spent = {name: now - own[name] for name, now in contender.cpu_s().items()}
    others = machine_busy_s() - busy - sum(spent.values()) - (_children_s() - load)
    found.noise.append(others / CORES / (time.monotonic() - begun))
    for name, seconds_of_cpu in spent.items():
        found.costs[name].append(seconds_of_cpu / requests * 1e6)
    found.rates.append(rate)
    found.p99s_ms.append(p99_ms)
    found.requests += requests


def _wait_until_ran(ran: Callable[[], float], wanted: float) -> None:
    deadline = time.monotonic() + DRAIN_S
    while (now := ran()) < wanted:
        if time.monotonic() > deadline:
            sys.exit(f"{wanted - now:,.0f} events have not run within {DRAIN_S:g} s")
        time.sleep(LOOK_S)


def _children_s() -> float:
    """CPU seconds of the load, once it has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def print_rates(contenders: Sequence[Contender], results: Results) -> None:
    """A line each: requests a second, ratio to the bare one, p99."""
    heads = "".join(f"{f'{count} connections':>30}" for count in CONNECTIONS)
    print(f"{'':28}{heads}{'resident':>12}{'requests':>12}")
    for contender in contenders:
        cells = ""
        for connections in CONNECTIONS:
            found = results[contender.name, connections]
            ratio = found.rate / results[BARE, connections].rate
            cells += f"{found.rate:>10,.0f}/s {ratio:>5.2f} {found.p99_ms:>8.1f} ms"
        resident = sum(map(resident_mb, contender.processes.values()))
        requests = sum(results[contender.name, count].requests for count in CONNECTIONS)
        print(f"{contender.name:28}{cells}{resident:>9,.0f} MB{requests:>12,}")


def ratios(name: str, results: Results, connections: int) -> list[float]:
    """To the bare one's rate of the same round."""
    own, reference = (results[one, connections].rates for one in (name, BARE))
    return [rate / bare_rate for rate, bare_rate in zip(own, reference, strict=True)]


def print_verdicts(expected: Mapping[str, float], results: Results) -> bool:
    """A line each: what was expected of the ratio at the most connections.

    Tells whether all of it is so.
    """
    most, good = CONNECTIONS[-1], True
    for name, wanted in expected.items():
        ratio = median(ratios(name, results, most))
        good &= ratio >= wanted
        verdict = "as expected" if ratio >= wanted else "SHORT"
        print(
            f"{name}: {ratio:.2f} of bare at {most}, expected {wanted:.2f}: {verdict}"
        )
    return good


def print_noise(results: Results) -> None:
    """How much of the machine others had: figures from a busy one say little."""
    noise = [part for found in results.values() for part in found.noise]
    print(f"other work on the machine: {median(noise):.0%}, at most {max(noise):.0%}")
