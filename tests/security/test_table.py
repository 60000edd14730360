"""The security table and the tests know each other: no row without, no test beyond."""

import re
from pathlib import Path

import pytest

from tests.security.marks import rows_by_place, rows_in
from tests.security.table import HELD_BY_BENCHMARK, ROWS

ROOT = Path(__file__).parent.parent.parent


def test_every_row_is_held_by_a_test_or_a_benchmark() -> None:
    held = {row for rows in rows_by_place().values() for row in rows}
    benchmarked = {r for r, file in HELD_BY_BENCHMARK.items() if (ROOT / file).exists()}

    assert ROWS.keys() - held - benchmarked == set()


def test_every_mark_names_a_row() -> None:
    strangers = {
        place: row
        for place, rows in rows_by_place().items()
        for row in rows
        if row not in ROWS
    }

    assert strangers == {}


def test_rows_are_sentences_in_their_order() -> None:
    assert list(ROWS) == sorted(ROWS)
    assert all(re.fullmatch(r"S\d\d", row) for row in ROWS)
    assert len(set(ROWS.values())) == len(ROWS)


MARK = '@pytest.mark.security("S01", "S02")\n'


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        (f"{MARK}def test_a(): ...", ["S01", "S02"]),
        (f"{MARK}async def test_a(): ...", ["S01", "S02"]),
        ('x = pytest.param(1, marks=pytest.mark.security("S03"))', ["S03"]),
        ('x = pytest.param(1, marks=[pytest.mark.security("S03")])', ["S03"]),
        ('pytestmark = pytest.mark.security("S04")', ["S04"]),
        ('pytestmark = pytest.mark.security("S04-S06")', ["S04", "S05", "S06"]),
        (f"{MARK}def probe(): ...", []),
        ('@pytest.mark.slow("S01")\ndef test_a(): ...', []),
    ],
)
def test_marks_are_found_where_pytest_takes_them(source: str, rows: list[str]) -> None:
    """A mark on what is no test holds nothing."""
    assert [row for _, row in rows_in(source)] == rows
