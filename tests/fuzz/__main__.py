"""Fuzzing the public port: python -m tests.fuzz (make fuzz).

Seeded: the same seed and number is the same case. Ends with 1 where anything went wrong,
with a line for each that says how to run its case alone.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

from tests.fuzz.cases import case_of
from tests.fuzz.run import Report, Run, target_in


async def fuzz(seed: int, requests: int, only: int | None) -> Report:
    with tempfile.TemporaryDirectory() as directory:
        async with target_in(Path(directory)) as target:
            if only is not None:
                print(*case_of(seed, only).pieces, sep="\n")
                return await Run(target, seed).fire_one(only)
            return await Run(target, seed).fire(requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**9))
    parser.add_argument("--only", type=int, help="the number of one case")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    report = asyncio.run(fuzz(options.seed, options.requests, options.only))
    print(
        f"{report.requests:,} requests in {time.monotonic() - begun:.0f} s, "
        f"{report.read_back:,} bodies read back from the log\n"
        f"statuses: {dict(sorted(report.statuses.items()))}\n"
        f"slowest: {report.slowest_s:.1f} s, case {report.slowest}\n"
        f"growth after the warm-up: {report.grown_mb:.1f} MB, "
        f"{report.descriptors} descriptors"
    )
    print(*report.wrong[:20], sep="\n")
    print(f"{len(report.wrong)} went wrong")
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
