"""What the checker judges: what callers were told, what the log holds, what was done.

Plain values without a connection to anything, so that a test can make them up.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from tests.faults.history import Call, Fault

Position = tuple[int, int]
Status = Literal["completed", "filtered", "dead", "duplicate"]


class Logged(NamedTuple):
    """A record of the topic `events`, with what its body carries."""

    partition: int
    offset: int
    event_id: str
    flow: str
    caller: str
    number: int
    at_us: int
    # What is in order: the flow, or its ordering key within it.
    lane: str = ""

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self.partition, self.offset

    @property
    def in_order_with(self) -> tuple[str, str]:
        """Which records its own execution may not overlap."""
        return self.flow, self.lane


class Run(NamedTuple):
    """The end of an execution, as the journal has it."""

    partition: int
    event_offset: int
    event_id: str
    status: Status
    started_at_us: int
    ended_at_us: int

    @property
    def position(self) -> Position:
        """Where its event stands."""
        return self.partition, self.event_offset


class Journaled(NamedTuple):
    """A step's result in the journal; an empty step is the end of the execution."""

    event_id: str
    step: str
    at_us: int


class Effect(NamedTuple):
    """Work that a step has done in another system."""

    event_id: str
    step: str
    at_us: int


class Snapshot(NamedTuple):
    """A partition while all was going on; the journal was read after the commit."""

    partition: int
    committed: int
    offsets: frozenset[int]
    finished_or_parked: frozenset[int]


class Footprint(NamedTuple):
    """What a process holds."""

    service: str
    rss_mib: float
    threads: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a run is held to."""

    healed_s: float = 10.0
    drained_s: float = 60.0
    rss_mib: float = 300.0
    threads: int = 64
    descriptors: int = 512


@dataclass(frozen=True)
class Evidence:
    """All that is known of a run."""

    calls: Sequence[Call] = ()
    faults: Sequence[Fault] = ()
    logged: Sequence[Logged] = ()
    runs: Sequence[Run] = ()
    journaled: Sequence[Journaled] = ()
    letters: Sequence[str] = ()
    effects: Sequence[Effect] = ()
    snapshots: Sequence[Snapshot] = ()
    footprints: Sequence[Footprint] = ()
    drained_us: int | None = None
    steps_by_flow: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bounds: Bounds = Bounds()

    @cached_property
    def records_by_event(self) -> Mapping[str, Sequence[Logged]]:
        """Records in the order of the log; more than one where a repeat was appended."""
        found: dict[str, list[Logged]] = defaultdict(list)
        for record in sorted(self.logged):
            found[record.event_id].append(record)
        return found

    @cached_property
    def runs_by_event(self) -> Mapping[str, Sequence[Run]]:
        """Ends of executions, in the order in which they ended; repeats have none."""
        found: dict[str, list[Run]] = defaultdict(list)
        runs = (run for run in self.runs if run.status != "duplicate")
        for run in sorted(runs, key=lambda one: one.ended_at_us):
            found[run.event_id].append(run)
        return found

    @cached_property
    def effects_by_step(self) -> Mapping[tuple[str, str], Sequence[int]]:
        """When each step of each event has had its effect."""
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for effect in sorted(self.effects, key=lambda one: one.at_us):
            found[effect.event_id, effect.step].append(effect.at_us)
        return found

    @cached_property
    def lanes(self) -> Sequence[Sequence[Logged]]:
        """First occurrences of events, lane by lane, in the order of the log."""
        found: dict[tuple[str, str], list[Logged]] = defaultdict(list)
        for records in self.records_by_event.values():
            found[records[0].in_order_with].append(records[0])
        return [sorted(lane) for lane in found.values()]
