"""Rules about executions: each event ends, in its order, and nothing is done too often."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.faults.evidence import Evidence, Logged


def every_event_ends_one_way(evidence: Evidence) -> Iterator[str]:
    """Every logged event has ended, in exactly one of completed and dead."""
    letters = set(evidence.letters)
    for event_id in evidence.records_by_event:
        runs = evidence.runs_by_event.get(event_id, ())
        kinds = {_kind(run.status) for run in runs} - {"duplicate"}
        if not kinds:
            yield f"{event_id} has not ended"
        elif len(kinds) > 1:
            yield f"{event_id} has ended as {' and '.join(sorted(kinds))}"
        elif ("dead" in kinds) != (event_id in letters):
            verb = "has no" if "dead" in kinds else "has completed and has a"
            yield f"{event_id} {verb} dead letter"


def _kind(status: str) -> str:
    return "completed" if status == "filtered" else status


def lanes_run_in_order(evidence: Evidence) -> Iterator[str]:
    """In a lane, no event starts before the one before it in the log has ended."""
    for lane in evidence.lanes:
        for before, after in pairwise(_with_runs(lane, evidence)):
            ended = _ended_us(before, evidence)
            started = min(
                r.started_at_us for r in evidence.runs_by_event[after.event_id]
            )
            if started < ended:
                yield (
                    f"{after.event_id} at {after.position} began {ended - started} us "
                    f"before {before.event_id} at {before.position} had ended"
                )


def _ended_us(record: Logged, evidence: Evidence) -> int:
    """When an event had ended: as the journal has it, or as all its effects show.

    A crash may take an end with it that was not written down yet.
    """
    written = min(r.ended_at_us for r in evidence.runs_by_event[record.event_id])
    effects = [
        evidence.effects_by_step.get((record.event_id, step))
        for step in evidence.steps_by_flow.get(record.flow, ())
    ]
    shown = [times[0] for times in effects if times]
    whole = bool(effects) and len(shown) == len(effects)
    return min(written, max(shown)) if whole else written


def nothing_runs_again_behind_the_next(evidence: Evidence) -> Iterator[str]:
    """No execution begins when a later event of its lane has its end in the journal."""
    kept = {event_id: at_us for event_id, step, at_us in evidence.journaled if not step}
    for lane in evidence.lanes:
        for before, after in pairwise(_with_runs(lane, evidence)):
            own = evidence.runs_by_event[before.event_id]
            last = max(
                (r.started_at_us for r in own if r.position == before.position),
                default=0,
            )
            if last > kept.get(after.event_id, last):
                yield (
                    f"{before.event_id} at {before.position} ran again when "
                    f"{after.event_id} at {after.position} had ended for good"
                )


def _with_runs(lane: Sequence[Logged], evidence: Evidence) -> Iterator[Logged]:
    return (record for record in lane if evidence.runs_by_event.get(record.event_id))


def effects_come_in_order(evidence: Evidence) -> Iterator[str]:
    """In a lane, every first effect of an event comes before any of the next event's."""
    first_by_event: dict[str, int] = {}
    last_by_event: dict[str, int] = {}
    for (event_id, _), times in evidence.effects_by_step.items():
        first = times[0]
        first_by_event[event_id] = min(first, first_by_event.get(event_id, first))
        last_by_event[event_id] = max(first, last_by_event.get(event_id, first))
    for lane in evidence.lanes:
        seen = [record for record in lane if record.event_id in first_by_event]
        for before, after in pairwise(seen):
            if first_by_event[after.event_id] < last_by_event[before.event_id]:
                yield (
                    f"{after.event_id} at {after.position} had an effect before "
                    f"{before.event_id} at {before.position} had all of its own"
                )


def journaled_never_starts_again(evidence: Evidence) -> Iterator[str]:
    """A step whose result is in the journal never starts again, nor does an ended event.

    A record that stands in the log twice explains one more.
    """
    for event_id, step, at_us in evidence.journaled:
        if step:
            late = [
                t
                for t in evidence.effects_by_step.get((event_id, step), ())
                if t > at_us
            ]
        else:
            late = [
                run.started_at_us
                for run in evidence.runs_by_event.get(event_id, ())
                if run.started_at_us > at_us
            ]
        if len(late) >= max(1, len(evidence.records_by_event.get(event_id, ()))):
            what = f"step {step}" if step else "an execution"
            yield f"{what} of {event_id} began {len(late)} times after its end was kept"


def effects_are_bounded(evidence: Evidence) -> Iterator[str]:
    """A completed event has had each effect; a second one only where a crash explains it.

    A record that stands in the log twice explains one more.
    """
    for event_id, records in evidence.records_by_event.items():
        runs = evidence.runs_by_event.get(event_id, ())
        completed = any(run.status == "completed" for run in runs)
        for step in evidence.steps_by_flow.get(records[0].flow, ()):
            times = evidence.effects_by_step.get((event_id, step), ())
            if completed and not times:
                yield f"{event_id} has completed without the effect of {step}"
            allowed = len(records) + _crashes_between(times, evidence)
            if len(times) > allowed:
                yield f"{step} of {event_id} was done {len(times)} times, not {allowed}"


def _crashes_between(times: Sequence[int], evidence: Evidence) -> int:
    return sum(
        fault.crashes
        for fault in evidence.faults
        if times and fault.at_us <= times[-1] and fault.healed_us >= times[0]
    )


def commit_passes_nothing_unfinished(evidence: Evidence) -> Iterator[str]:
    """The committed offset never passes a record that has neither ended nor is parked."""
    for snapshot in evidence.snapshots:
        passed = {one for one in snapshot.offsets if one < snapshot.committed}
        if unfinished := passed - snapshot.finished_or_parked:
            yield (
                f"partition {snapshot.partition} was committed at {snapshot.committed} "
                f"and had not ended {sorted(unfinished)[:5]}"
            )
