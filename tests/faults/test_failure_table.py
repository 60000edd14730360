"""The table of failures and the tests know each other: no row without, no test beyond."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.faults.table import ROWS, node_ids
from tests.faults.table_words import Held

# All files are imported to know their tests.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parent.parent.parent
OWN = "tests/faults/"


@cache
def collected() -> frozenset[str]:
    """The node ids that pytest finds in the files that are named, and here."""
    files = {test.partition("::")[0] for test in node_ids()} | {OWN}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", *sorted(files)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return frozenset(line for line in done.stdout.splitlines() if "::" in line)


def bare(test: str) -> str:
    """Without its parameters."""
    return test.partition("[")[0]


def test_every_test_that_is_named_is_there() -> None:
    """With its parameters, where they are named."""
    known = collected() | {bare(test) for test in collected()}

    assert set(node_ids()) - known == set()


def test_every_test_of_faults_is_named() -> None:
    """But those that hold this table, and what is around the failures."""
    named = {bare(test) for test in node_ids()}
    here = {bare(test) for test in collected() if test.startswith(OWN)}
    around = {test for test in here if test.startswith(f"{OWN}test_failure_table.py")}

    assert here - named - around - AROUND == set()
    assert here >= AROUND


LINE = "test_kafka_line.py::"
# Sentences and settings of the embedded log, and rules of the tests themselves.
AROUND = {
    f"{OWN}{test}"
    for test in (
        "test_backup.py::test_a_backup_leaves_a_running_instance_as_it_is",
        "test_backup.py::test_a_backup_that_cannot_be_written_says_so",
        "test_backup.py::test_a_damaged_file_is_not_copied",
        "test_backup.py::test_what_cannot_be_backed_up_is_said",
        "test_disk.py::test_a_writer_that_ends_by_a_fault_ends_the_log",
        "test_disk.py::test_only_the_owner_may_read_the_files",
        f"{LINE}test_services_are_not_ready_while_the_broker_is_away_and_nothing_comes",
        "test_planted.py::test_every_planted_fault_has_its_rules",
    )
}


def test_every_row_says_what_holds_it_on_each_log_or_why_nothing_has_to() -> None:
    """Not both: a row that does not apply has no test."""
    for name, row in ROWS.items():
        for side in row:
            kinds = {type(one) for one in side}
            assert len(kinds) == 1, name
            assert all(one[0] for one in side), name


def test_every_row_is_held_somewhere() -> None:
    held = [
        name
        for name, row in ROWS.items()
        if any(isinstance(one, Held) for side in row for one in side)
    ]

    assert held == list(ROWS)
