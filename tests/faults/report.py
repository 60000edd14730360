"""What a run comes to, in lines for a person."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

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


class Figures(NamedTuple):
    """A run, or several, in numbers."""

    accepted: int
    unknown: int
    refused: int
    faults: int
    lost: int
    reordered: int
    overlapping: int
    violations: int
    doubled: int
    effects: int
    healed_s: float
    recovered_s: float

    @classmethod
    def together(cls, runs: Sequence[Self]) -> Self:
        """Sums; of recoveries the slowest."""
        columns = list(zip(*runs, strict=True))
        return cls(
            *(sum(column) for column in columns[:-2]),
            *(max(column) for column in columns[-2:]),
        )

    def __str__(self) -> str:
        told = (
            f"{self.accepted} accepted, {self.unknown} unknown, {self.refused} refused"
        )
        wrong = f"reordered: {self.reordered}, overlapping: {self.overlapping}"
        healed = f"{self.healed_s:.2f} s after it was healed"
        lines = [
            f"events: {told}",
            f"faults: {self.faults}",
            f"lost: {self.lost}, {wrong}, all violations: {self.violations}",
            f"doubled effects: {self.doubled} of {self.effects}",
            f"slowest recovery: {healed}, {self.recovered_s:.2f} s in all",
        ]
        return "\n".join(lines)


def figures(evidence: Evidence, violations: Sequence[Violation]) -> Figures:
    """What a run comes to."""
    count = Counter(violation.rule for violation in violations)
    ends = Counter(type(call.end).__name__ for call in evidence.calls)
    healed_s, recovered_s = slowest_recovery_s(evidence)
    return Figures(
        accepted=ends["Ok"],
        unknown=ends["Info"],
        refused=ends["Fail"],
        faults=len(evidence.faults),
        lost=_of(count, LOST),
        reordered=_of(count, REORDERED),
        overlapping=_of(count, OVERLAPPING),
        violations=len(violations),
        doubled=doubled(evidence),
        effects=len(evidence.effects),
        healed_s=healed_s,
        recovered_s=recovered_s,
    )


def report(evidence: Evidence, violations: Iterable[Violation]) -> str:
    """Events, faults, what went wrong, what was done twice, the slowest recovery."""
    violations = list(violations)
    faults = Counter(fault.name for fault in evidence.faults)
    by_name = ", ".join(f"{name} {n}" for name, n in sorted(faults.items()))
    lines = [
        str(figures(evidence, violations)),
        f"in the log: {len(evidence.logged)}, dead: {len(set(evidence.letters))}",
        f"faults by name: {by_name}",
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
