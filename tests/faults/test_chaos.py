"""Seeded faults against the running product; the checker's rules hold through all."""

from pathlib import Path
from random import Random

import pytest

from tests.faults.checker import check
from tests.faults.nemesis import NOT_REACHED, every_point
from tests.faults.report import report
from tests.faults.scenario import Scenario, run_scenario

SEED = 20261125


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
