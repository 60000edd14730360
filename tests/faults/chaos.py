"""Longer runs from a seed that is drawn, or given to have one again: `make chaos`.

`python -m tests.faults.chaos --rounds 100 [--seed N] [--kafka | --brokers]`, or power
cuts of the embedded log: `--power-cuts 1000`. What callers were told stays in the
directory that is printed; the exit code is 1 where a rule was broken.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from hookline.failpoints import POINTS
from hookline.log.kafka import Durability
from tests.brokers import kafka_cluster
from tests.faults.checker import check
from tests.faults.evidence import Evidence
from tests.faults.kafka_nemesis import FAULTS, OF_THREE
from tests.faults.kafka_scenario import Ground, run_kafka_scenario
from tests.faults.nemesis import some
from tests.faults.power_cuts import lost_by_cuts
from tests.faults.report import report
from tests.faults.scenario import Scenario, run_scenario


def run_embedded(directory: Path, seed: int, rounds: int) -> Evidence:
    """One process on the embedded log."""
    drawn = some(random.Random(seed), rounds)  # noqa: S311 - a seed, to be run again
    return asyncio.run(run_scenario(directory, Scenario(seed, drawn)))


def run_on_kafka(directory: Path, seed: int, rounds: int) -> Evidence:
    """The services on a broker of their own."""
    faults = random.Random(seed).choices([*FAULTS, *POINTS], k=rounds)  # noqa: S311 - as above
    with kafka_cluster(directory / "broker") as brokers:
        ground = Ground(brokers)
        return asyncio.run(run_kafka_scenario(directory, ground, seed, faults))


def run_on_three(directory: Path, seed: int, rounds: int) -> Evidence:
    """The services on three brokers, which come and go."""
    kinds = [*OF_THREE, "executor killed", "router killed"]
    faults = random.Random(seed).choices(kinds, k=rounds)  # noqa: S311 - as above
    with kafka_cluster(directory / "brokers", nodes=3) as brokers:
        ground = Ground(brokers, Durability(3, 2))
        return asyncio.run(run_kafka_scenario(directory, ground, seed, faults))


async def cut_power(directory: Path, seed: int, count: int) -> int:
    """Power cuts of so many seeds; gives what was lost in all of them."""
    lost = 0
    for one in range(seed, seed + count):
        place = directory / str(one)
        place.mkdir()
        lost += await lost_by_cuts(place, one)
        shutil.rmtree(place)
    return lost


def main() -> None:
    """Run, print the report."""
    words = argparse.ArgumentParser("python -m tests.faults.chaos")
    words.add_argument("--rounds", type=int, default=60)
    words.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32)
    )
    words.add_argument("--kafka", action="store_true", help="one broker")
    words.add_argument("--brokers", action="store_true", help="three brokers")
    words.add_argument("--power-cuts", type=int, default=0, metavar="SEEDS")
    asked = words.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="hookline-chaos-"))
    print(f"seed {asked.seed}, history in {directory}", flush=True)  # noqa: T201 - a script
    if asked.power_cuts:
        lost = asyncio.run(cut_power(directory, asked.seed, asked.power_cuts))
        print(f"lost by power cuts: {lost}")  # noqa: T201 - a script
        sys.exit(bool(lost))
    run = run_on_kafka if asked.kafka else run_embedded
    run = run_on_three if asked.brokers else run
    evidence = run(directory, asked.seed, asked.rounds)
    violations = check(evidence)
    print(report(evidence, violations))  # noqa: T201 - a script
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
