"""1,000 connections that are slow or idle: what a steady caller sees of them.

One run, rounds in turn: the caller alone, and beside them. A third of the slow ones send
nothing, a third a byte of a head a second, a third a byte of a body a second; they are
ended after ten seconds and come again. At the end all of their descriptors are back.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

from benchmarks.line import HOOKLINE
from benchmarks.load import free_port, started

FLOW = """
id: steady
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
LINE = b"POST /hook/steady HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'{"name": "Ada"}'
GOOD = LINE + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
KINDS = (
    (b"", b""),
    (LINE + b"X-Slow: ", b"a"),
    (LINE + b"Content-Length: 99999\r\n\r\n", b" "),
)
A_SECOND = 200
# A difference below this says nothing, nor one that rounds alone have among themselves.
NOISE_MS = 2.0
BACK_S = 20.0


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def steady(address: str, seconds: float) -> list[float]:
    """Latencies in ms at a steady rate, from the moment a request was due."""
    host, _, port = address.rpartition(":")
    latencies = []
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(8)]
    locks = [asyncio.Lock() for _ in connections]
    loop = asyncio.get_running_loop()

    async def ask(number: int, due: float) -> None:
        reader, writer = connections[number % len(connections)]
        async with locks[number % len(connections)]:
            writer.write(GOOD)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                sys.exit(f"the steady caller was refused: {head!r}")
            size = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            await reader.readexactly(int(size))
        latencies.append((loop.time() - due) * 1000)

    begun = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * A_SECOND)):
            due = begun + number / A_SECOND
            await asyncio.sleep(max(0.0, due - loop.time()))
            tasks.create_task(ask(number, due))
    for _, writer in connections:
        writer.close()
    return latencies


async def dribble(address: str, number: int) -> None:
    """Be slow until it is ended, and come again; tells how long it lasted."""
    host, _, port = address.rpartition(":")
    source = (f"127.0.0.{2 + number % 10}", 0)
    start, drop = KINDS[number % len(KINDS)]
    while True:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection(
            host, int(port), local_addr=source
        )
        writer.write(start)
        ended = asyncio.ensure_future(reader.read())
        try:
            while not ended.done():
                writer.write(drop)
                await asyncio.wait([ended], timeout=1.0)
            with contextlib.suppress(ConnectionError):
                ended.result()
            print(f"{time.monotonic() - begun:.2f}", flush=True)
        finally:
            ended.cancel()
            writer.close()


async def dribble_all(address: str, count: int) -> None:
    """So many, until this process is ended."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(dribble(address, number))
            if number % 10 == 0:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def slow_ones(
    address: str, pid: int, count: int, lives: list[float]
) -> AsyncIterator[int]:
    """So many of them, in a process of their own, while the block runs."""
    before = descriptors(pid)
    command = [sys.executable, "-m", "benchmarks.slow", "--dribble", address]
    process = await asyncio.create_subprocess_exec(
        *command, f"--connections={count}", stdout=asyncio.subprocess.PIPE
    )
    begun = time.monotonic()
    while (held := descriptors(pid) - before) < count * 0.95:
        if time.monotonic() - begun > BACK_S:
            sys.exit(f"only {held} slow connections could be made")
        await asyncio.sleep(0.1)
    try:
        yield held
    finally:
        process.terminate()
        said, _ = await process.communicate()
        lives += [float(word) for word in said.split()]


def p(latencies: Sequence[float], percent: int) -> float:
    return quantiles(latencies, n=100)[percent - 1]


async def wait_back(pid: int, before: int) -> float:
    """Seconds until its descriptors are as before."""
    begun = time.monotonic()
    while descriptors(pid) > before:
        if time.monotonic() - begun > BACK_S:
            sys.exit(f"{descriptors(pid) - before} descriptors are not back")
        await asyncio.sleep(0.1)
    return time.monotonic() - begun


async def measure(address: str, pid: int, options: argparse.Namespace) -> bool:
    """Print the rounds and the verdict."""
    await steady(address, 2.0)
    before = descriptors(pid)
    lives: list[float] = []
    alone, beside = [], []
    for number in range(options.rounds):
        alone.append(await steady(address, options.seconds))
        async with slow_ones(address, pid, options.connections, lives) as held:
            beside.append(await steady(address, options.seconds))
        back_s = await wait_back(pid, before)
        print(
            f"round {number + 1}: alone p50 {p(alone[-1], 50):.1f} p99 "
            f"{p(alone[-1], 99):.1f} ms; beside {held} slow ones p50 "
            f"{p(beside[-1], 50):.1f} p99 {p(beside[-1], 99):.1f} ms; "
            f"descriptors back after {back_s:.1f} s"
        )
    p99s = [p(one, 99) for one in alone]
    without, with_them = median(p99s), median(p(one, 99) for one in beside)
    same = with_them <= max(*p99s, without + NOISE_MS)
    print(
        f"p99 {without:.1f} ms alone ({min(p99s):.1f} to {max(p99s):.1f}), "
        f"{with_them:.1f} ms beside {options.connections} slow connections: "
        f"{'unchanged within noise' if same else 'CHANGED'}"
    )
    if lives:
        print(
            f"{len(lives)} slow connections were ended by the server, the last to go "
            f"after {max(lives):.1f} s"
        )
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dribble", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dribble:
        asyncio.run(dribble_all(options.dribble, options.connections))
    with tempfile.TemporaryDirectory() as scratch:
        flows = Path(scratch) / "flows"
        flows.mkdir()
        (flows / "steady.yaml").write_text(FLOW)
        address = f"127.0.0.1:{free_port()}"
        command = [
            *(HOOKLINE, "up", "--data", f"{scratch}/data", "--flows", str(flows)),
            *("--http", address, "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        ]
        with started(command, dict(os.environ)) as (pid, _):
            same = asyncio.run(measure(address, pid, options))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
