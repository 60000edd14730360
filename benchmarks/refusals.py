"""What refusals cost, and whom: python -m benchmarks.refusals.

Wrong signatures as fast as the machine sends them, beside right ones at the same number of
connections. And while they come: right ones at a steady rate, which senders do not slow
down because answers take longer; and at as many connections, each with one request at a
time, where both share the machine. Rounds alternate, figures are medians.
"""

import argparse
import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.load import Contender, need_wrk, wait_until_idle, wrk
from benchmarks.sent import Sent, edge, json_of, signature
from tests.caller import request_bytes
from tests.flood import flooding

CONNECTIONS = 64
BODY = json_of(1_000)
JSON = {"content-type": "application/json"}
RIGHT = Sent("right", "signed", BODY, {**JSON, **signature(BODY)})
WRONG = Sent("wrong", "signed", BODY, {**JSON, **signature(BODY + b" ")})
ACCEPTED, REFUSED = "right signatures", "wrong signatures"
STEADY = "1,500 right ones a second, alone"
BESIDE = "the same beside a flood of wrong ones"
SHARED = "64 connections beside 64 of the flood"
A_SECOND = 1_500
EXPECTED = {
    REFUSED: (ACCEPTED, 1.00),
    BESIDE: (STEADY, 0.50),
    SHARED: (ACCEPTED, 0.50),
}


@contextmanager
def flood(contender: Contender, script: Path, seconds: int) -> Iterator[None]:
    """Wrong signatures, for longer than the block takes."""
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(
            wrk, contender.address, CONNECTIONS, seconds + 1, script, all_refused=True
        )
        yield
        sending.result()


def steady(contender: Contender, seconds: int) -> float:
    """Accepted a second, of right signatures that come at a rate."""
    headers = list(RIGHT.headers.items())
    request = request_bytes("POST", f"/hook/{RIGHT.flow_id}", headers, RIGHT.body)

    async def send() -> int:
        async with flooding(contender.address, [request], A_SECOND, 2_000) as sending:
            await asyncio.sleep(seconds)
            return sending.statuses[200]

    return asyncio.run(send()) / seconds


def measure(rounds: int, seconds: int) -> dict[str, float]:
    """Requests a second of each kind."""
    rates: dict[str, list[float]] = {
        name: [] for name in (ACCEPTED, REFUSED, STEADY, BESIDE, SHARED)
    }
    with ExitStack() as stack:
        edge_up = stack.enter_context(edge())
        right, wrong = (stack.enter_context(one.script()) for one in (RIGHT, WRONG))
        address, pids = edge_up.address, list(edge_up.processes.values())
        wrk(address, CONNECTIONS, 1, right)
        for _ in range(rounds):
            wait_until_idle(pids)
            rates[ACCEPTED].append(wrk(address, CONNECTIONS, seconds, right)[0])
            wait_until_idle(pids)
            refused = wrk(address, CONNECTIONS, seconds, wrong, all_refused=True)
            rates[REFUSED].append(refused[0])
            wait_until_idle(pids)
            rates[STEADY].append(steady(edge_up, seconds))
            with flood(edge_up, wrong, seconds):
                rates[BESIDE].append(steady(edge_up, seconds))
            wait_until_idle(pids)
            with flood(edge_up, wrong, seconds):
                rates[SHARED].append(wrk(address, CONNECTIONS, seconds, right)[0])
    return {name: median(found) for name, found in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    need_wrk()
    rates = measure(options.rounds, options.seconds)
    for name, rate in rates.items():
        print(f"{name:48}{rate:>10,.0f}/s")
    for name, (other, wanted) in EXPECTED.items():
        ratio = rates[name] / rates[other]
        verdict = "as expected" if ratio >= wanted else "SHORT"
        print(f"{name}: {ratio:.2f} of {other}, expected {wanted:.2f}: {verdict}")


if __name__ == "__main__":
    main()
