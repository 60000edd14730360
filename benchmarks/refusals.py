"""What refusals cost, and whom: python -m benchmarks.refusals.

Wrong signatures as fast as the machine sends them, beside right ones at the same number of
connections; and right ones while wrong ones come, beside right ones alone. Rounds
alternate, figures are medians.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.load import Contender, need_wrk, wait_until_idle, wrk
from benchmarks.sent import Sent, edge, json_of, signature

CONNECTIONS = 64
BODY = json_of(1_000)
JSON = {"content-type": "application/json"}
RIGHT = Sent("right", "signed", BODY, {**JSON, **signature(BODY)})
WRONG = Sent("wrong", "signed", BODY, {**JSON, **signature(BODY + b" ")})
ACCEPTED, REFUSED = "right signatures", "wrong signatures"
BESIDE = "right signatures beside a flood of wrong ones"
EXPECTED = {REFUSED: 1.00, BESIDE: 0.50}


@contextmanager
def flood(contender: Contender, script: Path, seconds: int) -> Iterator[None]:
    """Wrong signatures, for longer than the block takes."""
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(
            wrk, contender.address, CONNECTIONS, seconds + 1, script, all_refused=True
        )
        yield
        sending.result()


def measure(rounds: int, seconds: int) -> dict[str, float]:
    """Requests a second of each kind."""
    rates: dict[str, list[float]] = {ACCEPTED: [], REFUSED: [], BESIDE: []}
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
            with flood(edge_up, wrong, seconds):
                rates[BESIDE].append(wrk(address, CONNECTIONS, seconds, right)[0])
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
    for name, wanted in EXPECTED.items():
        ratio = rates[name] / rates[ACCEPTED]
        verdict = "as expected" if ratio >= wanted else "SHORT"
        print(
            f"{name}: {ratio:.2f} of {ACCEPTED} alone, expected {wanted:.2f}: {verdict}"
        )


if __name__ == "__main__":
    main()
