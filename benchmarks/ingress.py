"""Requests a second at the edge, side by side in one run: python -m benchmarks.ingress.

Compares a bare aiohttp handler (1.00) with `hookline up` without its executor, and with
the flow `hello` running, at 64 and 256 connections. Rounds alternate, so that a noisy
machine is noisy for all; the figures are medians.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.load import (
    Contender,
    bare,
    free_port,
    measure,
    need_wrk,
    print_rates,
    print_verdicts,
    started,
)

HOOKLINE = Path(sys.executable).parent / "hookline"
FLOWS = Path(__file__).parent.parent / "flows"
IDLE, BUSY = "up, no executor", "up, hello running"
EXPECTED = {IDLE: 0.60, BUSY: 0.40}


@contextmanager
def up(name: str, data: str, *more: str) -> Iterator[Contender]:
    """`hookline up` on a data directory and ports of its own."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(str(HOOKLINE), "up", "--data", data, "--flows", str(FLOWS)),
        *("--http", address, "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", *more),
    ]
    with started(command) as (pid, _):
        yield Contender(name, address, {"up": pid})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    need_wrk()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as directory:
        contenders = [
            stack.enter_context(one)
            for one in (
                bare(),
                up(IDLE, f"{directory}/idle", "--no-executor"),
                up(BUSY, f"{directory}/busy"),
            )
        ]
        results = measure(
            contenders,
            ["/hook/hello"],
            rounds=options.rounds,
            seconds=options.seconds,
        )
        print_rates(contenders, results)
        print_verdicts(EXPECTED, results)


if __name__ == "__main__":
    main()
