"""Seeded faults against the running product; the checker's rules hold through all."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.brokers import Cluster, kafka_cluster
from tests.faults.checker import check
from tests.faults.kafka_scenario import run_kafka_scenario
from tests.faults.nemesis import NOT_REACHED, every_point
from tests.faults.report import report
from tests.faults.scenario import Scenario, run_scenario

SEED = 20261125


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_every_rule_holds_when_one_process_ends_at_each_fail_point(
    tmp_path: Path,
) -> None:
    """Killed at each point, between them, inside a step; frozen; stopped in good order."""
    rounds = every_point(Random(SEED))  # noqa: S311 - a seed, so that it can be run again
    evidence = await run_scenario(tmp_path, Scenario(SEED, rounds))

    violations = check(evidence)
    print(report(evidence, violations))  # noqa: T201 - what CI shows
    assert not violations
    assert not [f.name for f in evidence.faults if f.name.endswith(NOT_REACHED)]


@pytest.fixture(scope="module")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker that may be broken."""
    with kafka_cluster(tmp_path_factory.mktemp("one")) as brokers:
        yield brokers


@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_rule_holds_when_services_and_the_broker_come_and_go(
    one_broker: Cluster, tmp_path: Path
) -> None:
    """Executors killed and frozen past their session, router and ingress, the broker."""
    faults = [
        "executor killed",
        "executor.after_step_before_journal",
        "broker frozen",
        "router killed",
        "executor frozen",
        "ingress killed",
    ]
    evidence = await run_kafka_scenario(tmp_path, one_broker, SEED, faults)

    violations = check(evidence)
    print(report(evidence, violations))  # noqa: T201 - what CI shows
    assert not violations
