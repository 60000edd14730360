"""What bodies and their signatures cost at the edge: python -m benchmarks.bodies.

JSON of 1 KB signed with HMAC-SHA256 beside the same without a credential; bodies of 64 KB
and uploads of 1 MB in MB/s beside a bare aiohttp handler that reads them and keeps
nothing. Rounds alternate, figures are medians.
"""

import argparse
from collections import defaultdict
from contextlib import ExitStack
from itertools import product
from statistics import median

from benchmarks.load import BARE, bare, need_wrk, wait_until_idle, wrk
from benchmarks.sent import Sent, edge, json_of, signature

CONNECTIONS = 64
# Beyond about 45 uploads at once from one address some wait, and then are 503.
UPLOADS = 32
JSON = {"content-type": "application/json"}
FILE = {"content-type": "application/octet-stream"}
SMALL, LARGE, UPLOAD = json_of(1_000), json_of(64_000), bytes(1_000_000)
UNSIGNED, SIGNED = "1 KB of JSON, no credential", "1 KB of JSON, HMAC-SHA256"
KINDS = (
    Sent(UNSIGNED, "open", SMALL, JSON),
    Sent(SIGNED, "signed", SMALL, {**JSON, **signature(SMALL)}),
    Sent("64 KB of JSON, no credential", "open", LARGE, JSON),
    Sent("64 KB of JSON, HMAC-SHA256", "signed", LARGE, {**JSON, **signature(LARGE)}),
    Sent("1 MB upload, no credential", "open", UPLOAD, FILE),
    Sent("1 MB upload, HMAC-SHA256", "signed", UPLOAD, {**FILE, **signature(UPLOAD)}),
)
EXPECTED = 0.85


def measure(rounds: int, seconds: int) -> dict[tuple[str, str], float]:
    """Requests a second, by contender and kind."""
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    with ExitStack() as stack:
        contenders = [stack.enter_context(bare()), stack.enter_context(edge())]
        scripts = {kind.name: stack.enter_context(kind.script()) for kind in KINDS}
        for contender in contenders:
            wrk(contender.address, CONNECTIONS, 1, scripts[UNSIGNED])
        for kind, contender in product(KINDS * rounds, contenders):
            wait_until_idle(list(contender.processes.values()))
            count = UPLOADS if kind.body is UPLOAD else CONNECTIONS
            found = wrk(contender.address, count, seconds, scripts[kind.name])
            rates[contender.name, kind.name].append(found[0])
    return {key: median(found) for key, found in rates.items()}


def print_table(rates: dict[tuple[str, str], float]) -> None:
    """A line a kind: the rate of each, in MB/s too, and their ratio."""
    print(f"{'':32}{'bare aiohttp':>26}{'up, no executor':>26}{'ratio':>8}")
    for kind in KINDS:
        pair = [rates[name, kind.name] for name in (BARE, "up, no executor")]
        cells = "".join(
            f"{rate:>10,.0f}/s {rate * len(kind.body) / 1e6:>8,.1f} MB/s"
            for rate in pair
        )
        print(f"{kind.name:32}{cells}{pair[1] / pair[0]:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    need_wrk()
    rates = measure(options.rounds, options.seconds)
    print_table(rates)
    signed, unsigned = (rates["up, no executor", one] for one in (SIGNED, UNSIGNED))
    verdict = "as expected" if signed / unsigned >= EXPECTED else "SHORT"
    print(
        f"{SIGNED}: {signed / unsigned:.2f} of that without a credential, expected "
        f"{EXPECTED:.2f}: {verdict}"
    )


if __name__ == "__main__":
    main()
