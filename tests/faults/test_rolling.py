"""Restarts in turn, under load: no keyed request fails once its caller has repeated it."""

from collections import defaultdict
from pathlib import Path

import pytest

from tests.brokers import kafka_cluster
from tests.faults.evidence import Evidence
from tests.faults.judging import judge
from tests.faults.kafka_scenario import Ground, run_kafka_scenario
from tests.faults.nemesis import Round
from tests.faults.scenario import Scenario, run_scenario

SEED = 11
# A twentieth of a second each: as long as the only instance needs to be there again.
PATIENCE = 1_000
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(300)]


def assert_none_failed(evidence: Evidence) -> None:
    """Each request has a key, and a 2xx in the end."""
    tries = defaultdict(list)
    for call in evidence.calls:
        tries[call.name].append(call.accepted)
    assert all(call.invoke.key for call in evidence.calls)
    assert not [name for name, accepted in tries.items() if not any(accepted)]


async def test_restarts_of_one_process_fail_no_keyed_request(tmp_path: Path) -> None:
    """Stopped in good order four times; each caller repeats until it is there again."""
    rounds = [Round("stop", 40) for _ in range(4)]
    scenario = Scenario(SEED, rounds, a_second=60, repeats=PATIENCE)

    evidence = await run_scenario(tmp_path, scenario)

    judge(evidence, "embedded, restarted")
    assert_none_failed(evidence)


@pytest.mark.kafka
@pytest.mark.long
async def test_restarts_of_routers_and_ingresses_fail_no_keyed_request(
    tmp_path: Path,
) -> None:
    """Two of each, one after another, twice; each caller repeats at the other one."""
    with kafka_cluster(tmp_path / "broker") as brokers:
        ground = Ground(brokers, edges=2, repeats=5)
        faults = ["edges restarted", "edges restarted"]

        evidence = await run_kafka_scenario(tmp_path, ground, SEED, faults)

    judge(evidence, "Kafka, edges restarted")
    assert_none_failed(evidence)
