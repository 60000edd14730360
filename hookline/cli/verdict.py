"""What `hookline verify` knows of its events, and what it says of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(slots=True)
class Trace:
    """An accepted event: when it was, where it stands, and when its executions ran."""

    event_id: str
    flow_id: str
    number: int
    took_s: float
    offset: int = -1
    accepted_at_us: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def ended_s(self) -> float | None:
        """From its acceptance to its first end; None while that is not known."""
        if not (self.runs and self.accepted_at_us):
            return None
        return (min(self.runs)[1] - self.accepted_at_us) / 1e6


@dataclass(slots=True)
class Ledger:
    """What was sent, and what has become of it."""

    sent: int = 0
    refused: int = 0
    unknown: int = 0
    traces: dict[str, Trace] = field(default_factory=dict)
    # Ends may be told before their sender has its answer.
    early: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    ends: int = 0
    tailed: bool = False

    def accept(self, trace: Trace) -> None:
        """An event was accepted."""
        self.traces[trace.event_id] = trace
        for summary in self.early.pop(trace.event_id, ()):
            self.take(summary)

    def take(self, summary: Any) -> None:
        """Something is known of an event."""
        self.tailed = True
        trace = self.traces.get(summary.event_id)
        if trace is None:
            self.early[summary.event_id].append(summary)
            return
        trace.offset = summary.offset
        trace.accepted_at_us = trace.accepted_at_us or summary.accepted_at_us
        if summary.HasField("ended"):
            run = (summary.ended.started_at_us, summary.ended.ended_at_us)
            if run not in trace.runs:
                trace.runs.append(run)
                self.ends += len(trace.runs) == 1

    @property
    def missing(self) -> list[Trace]:
        """Accepted events whose end is not known."""
        return [trace for trace in self.traces.values() if not trace.runs]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The report; times in milliseconds at the 50th, 90th, 99th and 100th percentile."""

    sent: int
    accepted: int
    refused: int
    unknown: int
    lost: int
    reordered: int
    duplicated: int
    accepted_ms: Sequence[float]
    completed_ms: Sequence[float]

    @property
    def good(self) -> bool:
        """Whether what is promised was kept."""
        return not (self.lost or self.reordered)


def judge(ledger: Ledger) -> Verdict:
    """The verdict on what is known now."""
    traces = ledger.traces.values()
    return Verdict(
        sent=ledger.sent,
        accepted=len(traces),
        refused=ledger.refused,
        unknown=ledger.unknown,
        lost=len(ledger.missing),
        reordered=sum(1 for _ in _reordered(ledger)),
        duplicated=sum(len(trace.runs) - 1 for trace in traces if trace.runs),
        accepted_ms=_percentiles([trace.took_s for trace in traces]),
        completed_ms=_percentiles([t.ended_s for t in traces if t.ended_s is not None]),
    )


def _reordered(ledger: Ledger) -> Iterator[Trace]:
    """What stands in the log, or has run, before what was accepted earlier."""
    by_flow: dict[str, list[Trace]] = defaultdict(list)
    for trace in ledger.traces.values():
        if trace.runs:
            by_flow[trace.flow_id].append(trace)
    for traces in by_flow.values():
        traces.sort(key=lambda trace: trace.number)
        for before, after in pairwise(traces):
            ended = min(end for _, end in before.runs)
            started = min(start for start, _ in after.runs)
            if after.offset <= before.offset or started < ended:
                yield after


def _percentiles(seconds: Sequence[float]) -> list[float]:
    ordered = sorted(seconds)
    if not ordered:
        return []
    last = len(ordered) - 1
    return [round(ordered[int(last * at)] * 1000, 1) for at in (0.5, 0.9, 0.99, 1.0)]
