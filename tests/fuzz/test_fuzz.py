"""The short form of `make fuzz`: 3,000 requests made of one seed."""

from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.cases import case_of
from tests.fuzz.run import Run, target_in

SEED = 20_261
REQUESTS = 3_000


@pytest.mark.slow
async def test_whatever_is_sent_is_answered_well_or_cut_off(tmp_path: Path) -> None:
    """What is valid is kept byte for byte; memory and descriptors do not grow."""
    async with target_in(tmp_path) as target:
        report = await Run(target, SEED).fire(REQUESTS)

    assert report.wrong == []
    assert report.read_back > REQUESTS // 50
    assert {200, 204, 400, 401, 404, 405, 413} <= report.statuses.keys()


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    """So that one that went wrong can be sent again, alone."""
    assert [case_of(1, n) for n in range(50)] == [case_of(1, n) for n in range(50)]
    assert case_of(1, 0) != case_of(2, 0)


def test_cases_are_of_all_kinds() -> None:
    """Both those whose answers are known, and those that may be anything."""
    kinds = Counter(bool(case_of(1, number).sent) for number in range(200))

    assert min(kinds[True], kinds[False]) > 50
