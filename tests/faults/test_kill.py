"""kill -9 of `hookline up` in mid-traffic, again and again."""

from pathlib import Path
from random import Random

import pytest

from tests.faults.judging import judge
from tests.faults.nemesis import Round
from tests.faults.scenario import Scenario, run_scenario

KILLS = 20
SEED = 20


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_what_was_accepted_is_executed_in_order_through_twenty_kills(
    tmp_path: Path,
) -> None:
    """Every 2xx event is executed after a restart, first occurrences in order."""
    random = Random(SEED)  # noqa: S311 - a seed, so that a failure can be run again
    rounds = [Round("kill", random.randrange(1, 120)) for _ in range(KILLS)]
    evidence = await run_scenario(tmp_path, Scenario(SEED, rounds, a_second=400))

    judge(evidence, "embedded, twenty kills")
    assert sum(call.accepted for call in evidence.calls) >= KILLS
