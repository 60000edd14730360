"""What a run comes to, in lines for a person."""

from collections import Counter
from collections.abc import Iterable

from tests.faults.checker import Violation
from tests.faults.evidence import Evidence
from tests.faults.history import Ok
from tests.faults.rules_of_log import accepted_is_logged, callers_order_is_the_logs
from tests.faults.rules_of_runs import (
    effects_come_in_order,
    every_event_ends_one_way,
    lanes_run_in_order,
)

S = 1_000_000
LOST = {accepted_is_logged.__name__, every_event_ends_one_way.__name__}
REORDERED = {callers_order_is_the_logs.__name__, effects_come_in_order.__name__}
OVERLAPPING = {lanes_run_in_order.__name__}
SHOWN = 10


def report(evidence: Evidence, violations: Iterable[Violation]) -> str:
    """Events, faults, what went wrong, what was done twice, the slowest recovery."""
    violations = list(violations)
    count = Counter(violation.rule for violation in violations)
    faults = Counter(fault.name for fault in evidence.faults)
    ends = Counter(type(call.end).__name__.lower() for call in evidence.calls)
    accepted = f"{ends['ok']} accepted, {ends['info']} unknown, {ends['fail']} refused"
    kept = f"{len(evidence.logged)} in the log, {len(set(evidence.letters))} dead"
    by_name = ", ".join(f"{name} {n}" for name, n in sorted(faults.items()))
    wrong = (("lost", LOST), ("reordered", REORDERED), ("overlapping", OVERLAPPING))
    told = ", ".join(f"{word}: {_of(count, rules)}" for word, rules in wrong)
    lines = [
        f"events: {accepted}; {kept}",
        f"faults: {faults.total()} ({by_name})",
        f"{told}, all violations: {len(violations)}",
        f"doubled effects: {doubled(evidence)} of {len(evidence.effects)}",
        "slowest recovery: {:.2f} s after it was healed, {:.2f} s in all".format(
            *slowest_recovery_s(evidence)
        ),
    ]
    lines += [f"  {rule}: {text}" for rule, text in violations[:SHOWN]]
    return "\n".join(lines)


def _of(count: Counter[str], rules: set[str]) -> int:
    return sum(count[rule] for rule in rules)


def doubled(evidence: Evidence) -> int:
    """Effects that were had before by the same step of the same event."""
    return len(evidence.effects) - len(evidence.effects_by_step)


def slowest_recovery_s(evidence: Evidence) -> tuple[float, float]:
    """Until a request was accepted again: from when it was healed, from when it began."""
    accepted = sorted(
        (call.invoke.at_us, call.end.at_us)
        for call in evidence.calls
        if isinstance(call.end, Ok)
    )
    took = [
        (first - fault.healed_us, first - fault.at_us)
        for fault in evidence.faults
        if (after := [end for begun, end in accepted if begun >= fault.healed_us])
        for first in [min(after)]
    ]
    healed, begun = zip(*took, strict=True) if took else ((0,), (0,))
    return max(healed) / S, max(begun) / S
