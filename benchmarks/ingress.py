"""Requests a second at the edge, side by side in one run: python -m benchmarks.ingress.

Compares a bare aiohttp handler (1.00) with `hookline up` without its executor, and with
the flow `hello` running, at 64 and 256 connections. Rounds alternate, so that a noisy
machine is noisy for all; the figures are medians.
"""

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HOOKLINE = Path(sys.executable).parent / "hookline"
FLOWS = Path(__file__).parent.parent / "flows"
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"name": "Ada", "note": "%s"}'
""" % ("x" * 140)
EXPECTED = {"up, no executor": 0.60, "up, hello running": 0.40}
BARE = "bare aiohttp"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server under load."""

    name: str
    url: str
    process: subprocess.Popen[str]

    @property
    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(name: str, command: list[str], port: int) -> Iterator[Contender]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None  # noqa: S101 - PIPE was asked for
    process.stdout.readline()
    with Path("/dev/null").open("w") as nowhere:
        # Its lines are read, as a terminal or a collector would.
        reader = subprocess.Popen(["cat"], stdin=process.stdout, stdout=nowhere)
    try:
        yield Contender(name, f"http://127.0.0.1:{port}/hook/hello", process)
    finally:
        process.terminate()
        process.wait(30)
        reader.wait(30)


def up(data: str, port: int, *more: str) -> list[str]:
    """`hookline up` on a data directory and ports of its own."""
    return [
        *(str(HOOKLINE), "up", "--data", data, "--flows", str(FLOWS)),
        *("--http", f"127.0.0.1:{port}", "--grpc", "127.0.0.1:0"),
        *("--admin", "127.0.0.1:0", *more),
    ]


def wrk(url: str, connections: int, seconds: int, script: Path) -> tuple[float, str]:
    """Requests a second and the latency at p99. Anything but 2xx is an error."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(script), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        sys.exit(f"{url} refused requests:\n{out}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p99 = re.search(r"99%\s+(\S+)", out)
    return float(rate[1]) if rate else 0.0, p99[1] if p99 else "?"


def wait_until_idle(contender: Contender) -> None:
    """Let what is still to be done be done, so that rounds do not share a core."""
    stat = Path(f"/proc/{contender.process.pid}/stat")
    before = -1
    while (ticks := sum(map(int, stat.read_text().split()[13:15]))) - before > 3:
        before = ticks
        time.sleep(0.5)


def measure(options: argparse.Namespace, contenders: list[Contender]) -> None:
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    requests: dict[str, int] = defaultdict(int)
    latencies: dict[tuple[str, int], str] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA)
        script.flush()
        for contender in contenders:  # warm-up
            wrk(contender.url, 64, 1, Path(script.name))
        for _ in range(options.rounds):
            for connections in (64, 256):
                for contender in contenders:
                    key = contender.name, connections
                    wait_until_idle(contender)
                    rate, latencies[key] = wrk(
                        contender.url, connections, options.seconds, Path(script.name)
                    )
                    rates[key].append(rate)
                    requests[contender.name] += int(rate * options.seconds)
    head = f"{'64 connections':>28}{'256 connections':>28}{'resident':>12}"
    print(f"{'':24}{head}{'requests':>12}")
    for contender in contenders:
        cells = ""
        for connections in (64, 256):
            key = contender.name, connections
            rate = median(rates[key])
            ratio = rate / median(rates[BARE, connections])
            cells += f"{rate:>10,.0f}/s {ratio:>5.2f} {latencies[key]:>9}"
        resident = f"{contender.resident_mb:>9,.0f} MB"
        print(f"{contender.name:24}{cells}{resident}{requests[contender.name]:>12,}")
    for name, expected in EXPECTED.items():
        ratio = median(rates[name, 256]) / median(rates[BARE, 256])
        verdict = "as expected" if ratio >= expected else "SHORT"
        print(f"{name}: {ratio:.2f} of bare at 256, expected {expected:.2f}: {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("the benchmark's load comes from wrk: apt-get install wrk")
    with ExitStack() as stack, tempfile.TemporaryDirectory() as directory:
        ports = [free_port() for _ in range(3)]
        bare = [sys.executable, "-m", "benchmarks.bare", str(ports[0])]
        idle = up(f"{directory}/idle", ports[1], "--no-executor")
        busy = up(f"{directory}/busy", ports[2])
        contenders = [
            stack.enter_context(serving(name, command, port))
            for name, command, port in (
                (BARE, bare, ports[0]),
                ("up, no executor", idle, ports[1]),
                ("up, hello running", busy, ports[2]),
            )
        ]
        measure(options, contenders)


if __name__ == "__main__":
    main()
