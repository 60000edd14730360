"""Requests with keys, sent again and again through kills: one execution a key."""

from pathlib import Path
from random import Random

import pytest

from tests.faults.checker import check
from tests.faults.nemesis import Round
from tests.faults.report import report
from tests.faults.scenario import Scenario, run_scenario

KILLS = 4
SEED = 22


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_key_is_executed_once_through_kills(tmp_path: Path) -> None:
    """Callers repeat what has no certain answer, and some of what has one."""
    random = Random(SEED)  # noqa: S311 - a seed, so that a failure can be run again
    rounds = [Round("kill", random.randrange(20, 120)) for _ in range(KILLS)]
    scenario = Scenario(SEED, rounds, a_second=300, repeats=4)
    evidence = await run_scenario(tmp_path, scenario)

    violations = check(evidence)
    print(report(evidence, violations))  # noqa: T201 - what CI shows
    assert not violations
    assert len({call.name for call in evidence.calls}) < len(evidence.calls)
