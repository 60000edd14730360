"""Judges a run by its rules: pure functions over evidence, whatever was done to it.

Each rule is a function whose first line is its sentence; it gives a sentence for each
violation.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from tests.faults.evidence import Evidence
from tests.faults.rules_of_log import (
    accepted_is_logged,
    callers_order_is_the_logs,
    logged_was_invoked,
    one_execution_a_key,
    one_request_is_one_event,
    refused_is_not_logged,
)
from tests.faults.rules_of_runs import (
    commit_passes_nothing_unfinished,
    effects_are_bounded,
    effects_come_in_order,
    every_event_ends_one_way,
    journaled_never_starts_again,
    lanes_run_in_order,
    nothing_runs_again_behind_the_next,
)
from tests.faults.rules_of_time import (
    accepts_soon_after_healing,
    drains_in_time,
    footprints_are_bounded,
    nothing_accepted_while_unwritable,
)

Rule = Callable[[Evidence], Iterator[str]]

RULES: Final[tuple[Rule, ...]] = (
    accepted_is_logged,
    logged_was_invoked,
    refused_is_not_logged,
    one_request_is_one_event,
    one_execution_a_key,
    every_event_ends_one_way,
    lanes_run_in_order,
    effects_come_in_order,
    callers_order_is_the_logs,
    effects_are_bounded,
    journaled_never_starts_again,
    nothing_runs_again_behind_the_next,
    commit_passes_nothing_unfinished,
    accepts_soon_after_healing,
    drains_in_time,
    footprints_are_bounded,
    nothing_accepted_while_unwritable,
)


class Violation(NamedTuple):
    """A rule by its name, and how it was broken."""

    rule: str
    text: str


def check(evidence: Evidence, rules: Iterable[Rule] = RULES) -> list[Violation]:
    """All violations of these rules."""
    return [Violation(rule.__name__, text) for rule in rules for text in rule(evidence)]
