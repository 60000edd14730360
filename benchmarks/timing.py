"""Whether a refusal takes longer the more is right: python -m benchmarks.timing.

Two times 5,000 refusals, of signatures whose first half is right and of such of which
nothing is, in an order that is thrown. Mann and Whitney's test tells whether one of them
takes longer; ends with 1 where it does (p below 0.01).
"""

import argparse
import gc
import hmac
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from math import erfc, sqrt
from random import Random
from statistics import median

from pydantic import TypeAdapter

from hookline.errors import Unauthenticated
from hookline.flow import Auth
from hookline.v1 import event_pb2
from services.router.verifiers import Verifier, build_verifier

KEY, BODY, HEADER = "benchmark", b'{"name": "Ada"}', "x-eio-signature"
REFUSALS = 5_000
LEAST_P = 0.01


def request(signature: bytes) -> event_pb2.Request:
    pair = event_pb2.Header(name=HEADER.encode(), value=signature.hex().encode())
    return event_pb2.Request(method="POST", body=BODY, headers=[pair])


def refusal_ns(door: Verifier, signature: bytes) -> int:
    # A new one each time: where in memory it lies shows more than what is in it.
    sent = request(signature)
    begun = time.perf_counter_ns()
    with suppress(Unauthenticated):
        door.verify(sent)
        sys.exit("a wrong signature was let in")
    return time.perf_counter_ns() - begun


def refusals_ns(kinds: Sequence[bytes], each: int) -> list[list[int]]:
    """The times of each kind, taken in turns that nobody can foresee."""
    named = {"type": "hmac", "secret": "${secret:KEY}", "header": HEADER}
    auth = TypeAdapter[Auth](Auth).validate_python(named)
    door = build_verifier([auth], lambda _name: KEY)
    times: list[list[int]] = [[] for _ in kinds]
    turns = list(range(len(kinds))) * each
    Random().shuffle(turns)  # noqa: S311 - an order, no secret
    for kind in turns[:1_000]:
        refusal_ns(door, kinds[kind])
    gc.disable()
    for kind in turns:
        times[kind].append(refusal_ns(door, kinds[kind]))
    return times


def p_value(one: Sequence[int], other: Sequence[int]) -> float:
    """How likely such a difference is by chance: two-sided, by ranks, ties counted."""
    merged = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    rank_sum, ties, at = 0.0, 0, 0
    while at < len(merged):
        end = at
        while end < len(merged) and merged[end][0] == merged[at][0]:
            end += 1
        mean_rank = (at + 1 + end) / 2
        rank_sum += mean_rank * sum(1 for _, kind in merged[at:end] if kind == 0)
        ties += (end - at) ** 3 - (end - at)
        at = end
    n, m = len(one), len(other)
    u = rank_sum - n * (n + 1) / 2
    spread = n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1)))
    return erfc(abs(u - n * m / 2) / sqrt(spread) / sqrt(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refusals", type=int, default=REFUSALS)
    options = parser.parse_args()
    right = hmac.digest(KEY.encode(), BODY, "sha256")
    wrong = bytes(255 - byte for byte in right)
    kinds = [right[:16] + wrong[16:], wrong]
    half, nothing = refusals_ns(kinds, options.refusals)
    p = p_value(half, nothing)
    verdict = "as expected" if p > LEAST_P else "TELLS"
    print(
        f"refused in {median(half):,.0f} ns with the first half right, in "
        f"{median(nothing):,.0f} ns with nothing right: p = {p:.3f}, expected above "
        f"{LEAST_P}: {verdict}"
    )
    sys.exit(p <= LEAST_P)


if __name__ == "__main__":
    main()
