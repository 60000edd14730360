"""Seeded faults against the running product; the checker's rules hold through all."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from hookline.log.kafka import Durability
from tests.brokers import Cluster, kafka_cluster
from tests.faults.judging import judge
from tests.faults.kafka_scenario import Ground, run_kafka_scenario
from tests.faults.lost_answers import broker_behind
from tests.faults.nemesis import NOT_REACHED, every_point
from tests.faults.scenario import Scenario, run_scenario

SEED = 20261125


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_rule_holds_when_one_process_ends_at_each_fail_point(
    tmp_path: Path,
) -> None:
    """Killed at each point, between them, inside a step; frozen; stopped in good order.

    At each but that of a control, which tests/test_controls.py has.
    """
    rounds = every_point(Random(SEED))  # noqa: S311 - a seed, so that it can be run again
    evidence = await run_scenario(tmp_path, Scenario(SEED, rounds))

    judge(evidence, "embedded, every fail point")
    assert not [f.name for f in evidence.faults if f.name.endswith(NOT_REACHED)]


@pytest.fixture(scope="module")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker that may be broken."""
    with kafka_cluster(tmp_path_factory.mktemp("one")) as brokers:
        yield brokers


COMING_AND_GOING = [
    "executor killed",
    "broker frozen",
    "router killed",
    "executor frozen",
    "ingress killed",
    "scaled to four and back",
]
AT_POINTS = [
    "executor.before_first_step + executor.between_steps",
    "executor.after_step_before_journal + executor.after_journal_before_commit",
    "executor.before_dead_letter + executor.after_dead_letter_before_journal",
    "executor.after_passed_before_commit",
    "executor.while_restoring",
    "executors killed in a step",
    "ingress.before_forwarding",
    "ingress.after_verdict_before_answer",
    "router.before_append",
    "router.append_in_flight",
    "router.after_append_before_answer",
]
WITH_THREE = [
    "leader killed",
    "all brokers restarted",
    "leader frozen",
    "one broker left",
    "leader killed",
    "leader killed",
]


@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(540)
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(COMING_AND_GOING, id="services"),
        pytest.param(AT_POINTS, id="points", marks=pytest.mark.long),
    ],
)
async def test_every_rule_holds_when_services_and_the_broker_come_and_go(
    one_broker: Cluster, tmp_path: Path, faults: Sequence[str]
) -> None:
    """Executors killed and frozen past their session, at each fail point; the broker."""
    evidence = await run_kafka_scenario(tmp_path, Ground(one_broker), SEED, faults)

    judge(evidence, "Kafka, one broker")


@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(540)
async def test_every_rule_holds_when_brokers_of_three_come_and_go(
    kafka_of_three: Cluster, tmp_path: Path
) -> None:
    """Leaders killed again and again, too few in sync, all of them at once."""
    ground = Ground(kafka_of_three, Durability(3, 2))
    evidence = await run_kafka_scenario(tmp_path, ground, SEED, WITH_THREE)

    judge(evidence, "Kafka, three brokers")


@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_rule_holds_when_the_brokers_answers_are_lost(
    tmp_path: Path,
) -> None:
    """It has applied what it was sent: events and steps are there twice, in order."""
    with broker_behind(tmp_path / "broker") as (brokers, loser):
        ground = Ground(
            brokers,
            more={"answers lost": loser.lose},
            servers=(f"127.0.0.1:{loser.port}",),
        )
        faults = ["answers lost"] * 4
        evidence = await run_kafka_scenario(tmp_path, ground, SEED, faults)

    judge(evidence, "Kafka, answers lost")
    assert loser.lost == 3 * len(faults)
    # Else nothing was lost that the broker had applied.
    assert len(evidence.logged) > len(evidence.records_by_event)
