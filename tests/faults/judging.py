"""What runs have come to, told run by run and in one line at the end of a session."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.checker import check
from tests.faults.evidence import Evidence
from tests.faults.report import Figures, figures, report

_REPORTS: Final[list[str]] = []
_FIGURES: Final[list[Figures]] = []


def judge(evidence: Evidence, name: str) -> None:
    """Keep the report for the end; nothing may be wrong."""
    violations = check(evidence)
    _REPORTS.append(f"{name}\n{report(evidence, violations)}\n")
    _FIGURES.append(figures(evidence, violations))
    assert not violations


def told() -> Iterator[str]:
    """The reports of all runs, and what they come to together."""
    yield from _REPORTS
    if _FIGURES:
        yield f"all runs\n{Figures.together(_FIGURES)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show it; other sessions have nothing to tell."""
    if _REPORTS:
        terminalreporter.section("faults")
        for text in told():
            terminalreporter.write_line(text)
