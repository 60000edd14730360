"""Negative controls: a product with a fault planted in it does not pass the checker."""

import sys
from pathlib import Path

import pytest

from tests.faults import planted
from tests.faults.checker import Rule, check
from tests.faults.generator import NONE_LATE
from tests.faults.nemesis import Round
from tests.faults.report import report
from tests.faults.rules_of_log import (
    accepted_is_logged,
    one_execution_a_key,
    one_request_is_one_event,
)
from tests.faults.rules_of_runs import (
    commit_passes_nothing_unfinished,
    effects_come_in_order,
    every_event_ends_one_way,
    lanes_run_in_order,
)
from tests.faults.rules_of_time import nothing_accepted_while_unwritable
from tests.faults.scenario import Scenario, run_scenario

CAUGHT: dict[str, set[Rule]] = {
    "ack-before-append": {accepted_is_logged, nothing_accepted_while_unwritable},
    "commit-before-journal": {
        commit_passes_nothing_unfinished,
        every_event_ends_one_way,
    },
    "letters-dropped": {every_event_ends_one_way},
    "commit-too-far": {commit_passes_nothing_unfinished},
    "sent-again": {one_request_is_one_event},
    "two-at-once": {lanes_run_in_order, effects_come_in_order},
    "read-backwards": {effects_come_in_order},
    "dedupe-off": {one_execution_a_key},
}
KILLS = [Round("kill", 60), Round("kill", 90, "full disk", 0.5), Round("kill", 75)]


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(planted.PLANTED))
async def test_the_checker_catches(fault: str, tmp_path: Path) -> None:
    """By the rules that it breaks."""
    wrapper = (sys.executable, planted.__file__, fault)
    repeats = 2 if fault == "dedupe-off" else 0
    # None of them late: what is read backwards cannot be parked, and ends the process.
    scenario = Scenario(
        *(7, KILLS),
        flows=4,
        repeats=repeats,
        fates=NONE_LATE,
        wrapper=wrapper,
        drain_s=2.0,
    )
    evidence = await run_scenario(tmp_path, scenario)

    violations = check(evidence)
    print(report(evidence, violations))  # noqa: T201 - what CI shows
    assert {rule.__name__ for rule in CAUGHT[fault]} <= {v.rule for v in violations}


def test_every_planted_fault_has_its_rules() -> None:
    assert CAUGHT.keys() == planted.PLANTED.keys()
