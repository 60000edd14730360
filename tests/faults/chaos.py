"""Longer runs from a seed that is drawn, or given to have one again: `make chaos`.

`python -m tests.faults.chaos --rounds 100 [--seed N] [--kafka]`. What callers were told
stays in the directory that is printed; the exit code is 1 where a rule was broken.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from hookline.failpoints import POINTS
from tests.brokers import kafka_cluster
from tests.faults.checker import check
from tests.faults.evidence import Evidence
from tests.faults.kafka_nemesis import FAULTS
from tests.faults.kafka_scenario import run_kafka_scenario
from tests.faults.nemesis import some
from tests.faults.report import report
from tests.faults.scenario import Scenario, run_scenario


def run_embedded(directory: Path, seed: int, rounds: int) -> Evidence:
    """One process on the embedded log."""
    drawn = some(random.Random(seed), rounds)  # noqa: S311 - a seed, to be run again
    return asyncio.run(run_scenario(directory, Scenario(seed, drawn)))


def run_on_kafka(directory: Path, seed: int, rounds: int) -> Evidence:
    """The services on a broker of their own."""
    kinds = [*FAULTS, *(point for point in POINTS if "dead_letter" not in point)]
    faults = random.Random(seed).choices(kinds, k=rounds)  # noqa: S311 - as above
    with kafka_cluster(directory / "broker") as brokers:
        return asyncio.run(run_kafka_scenario(directory, brokers, seed, faults))


def main() -> None:
    """Run, print the report."""
    words = argparse.ArgumentParser("python -m tests.faults.chaos")
    words.add_argument("--rounds", type=int, default=60)
    words.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32)
    )
    words.add_argument("--kafka", action="store_true")
    asked = words.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="hookline-chaos-"))
    print(f"seed {asked.seed}, history in {directory}", flush=True)  # noqa: T201 - a script
    run = run_on_kafka if asked.kafka else run_embedded
    evidence = run(directory, asked.seed, asked.rounds)
    violations = check(evidence)
    print(report(evidence, violations))  # noqa: T201 - a script
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
