"""The checker: each rule catches what is planted against it, and passes a clean run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults import rules_of_log, rules_of_runs, rules_of_time
from tests.faults.checker import RULES, Rule, check
from tests.faults.evidence import (
    Effect,
    Evidence,
    Footprint,
    Journaled,
    Logged,
    Run,
    Snapshot,
    Status,
)
from tests.faults.history import (
    Call,
    Drained,
    Entry,
    Fail,
    Fault,
    History,
    Info,
    Invoke,
    Ok,
    calls_of,
    read_history,
)

S = 1_000_000
STEPS = ("first", "second")
Times = list[tuple[int, bool, bool]]


def invoke(number: int, at_us: int, flow: str = "f", key: str = "") -> Invoke:
    return Invoke(at_us=at_us, caller="c", number=number, flow=flow, key=key)


def accepted(number: int, at_us: int) -> Ok:
    return Ok(at_us=at_us, caller="c", number=number, event_id=f"e{number}")


def run_of(number: int, at_us: int, *, dead: bool = False) -> Run:
    status: Status = "dead" if dead else "completed"
    return Run(0, number, f"e{number}", status, at_us, at_us + 50)


def clean(times: Times) -> Evidence:
    """A run of one flow: per event its length, whether a crash cuts it, if it is dead."""
    calls, logged, runs, effects, journaled, letters = [], [], [], [], [], []
    faults = []
    now = 0
    for number, (gap, crashes, dead) in enumerate(times):
        now += 1_000 + gap
        ok = accepted(number, now + 10)
        calls.append(Call(invoke=invoke(number, now), end=ok))
        logged.append(Logged(0, number, f"e{number}", "f", "c", number, now + 5))
        now += 100
        if crashes:
            effects.append(Effect(f"e{number}", "first", now))
            faults.append(
                Fault(at_us=now + 10, name="kill", healed_us=now + 20, crashes=1)
            )
            now += 100
        runs.append(run_of(number, now, dead=dead))
        if dead:
            letters.append(f"e{number}")
        else:
            for step, at in zip(STEPS, (now + 10, now + 30), strict=True):
                effects.append(Effect(f"e{number}", step, at))
                journaled.append(Journaled(f"e{number}", step, at + 10))
        journaled.append(Journaled(f"e{number}", "", now + 60))
    count = len(times)
    return Evidence(
        calls=calls,
        faults=faults,
        logged=logged,
        runs=runs,
        journaled=journaled,
        letters=letters,
        effects=effects,
        snapshots=[
            Snapshot(0, count, frozenset(range(count)), frozenset(range(count)))
        ],
        footprints=[Footprint("up", 80.0, 12, 40)],
        drained_us=now + S,
        steps_by_flow={"f": STEPS},
    )


THREE = clean([(0, False, False), (50, False, True), (0, False, False)])


@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.booleans(), st.booleans()), max_size=20
    )
)
def test_a_clean_run_breaks_no_rule(times: Times) -> None:
    """Whatever its pace, wherever it crashes and whatever fails."""
    assert check(clean(times), RULES) == []


def lost(e: Evidence) -> Evidence:
    return replace(e, logged=e.logged[:2])


def from_nowhere(e: Evidence) -> Evidence:
    stranger = Logged(0, 3, "e3", "f", "c", 3, 9_000)
    return replace(e, logged=[*e.logged, stranger])


def refused_and_kept(e: Evidence) -> Evidence:
    refused = Fail(at_us=e.calls[2].invoke.at_us + 1, caller="c", number=2, status=413)
    return replace(e, calls=[*e.calls[:2], Call(invoke=e.calls[2].invoke, end=refused)])


def sent_once_kept_twice(e: Evidence) -> Evidence:
    again = e.logged[0]._replace(offset=3, event_id="e0-again")
    return replace(e, logged=[*e.logged, again])


def key_executed_twice(e: Evidence) -> Evidence:
    calls = [
        Call(invoke=invoke(0, 100, key="k")),
        Call(invoke=invoke(0, 200, key="k"), end=accepted(0, 300)),
    ]
    again = e.logged[0]._replace(offset=3)
    runs = [*e.runs, run_of(0, 9_000)._replace(event_offset=3)]
    return replace(e, calls=calls, logged=[*e.logged, again], runs=runs)


def never_ended(e: Evidence) -> Evidence:
    return replace(e, runs=e.runs[:2])


def completed_and_dead(e: Evidence) -> Evidence:
    return replace(e, runs=[*e.runs, run_of(0, 9_000, dead=True)], letters=["e0", "e1"])


def dead_without_letter(e: Evidence) -> Evidence:
    return replace(e, letters=[])


def overlapping(e: Evidence) -> Evidence:
    early = e.runs[2]._replace(started_at_us=e.runs[1].ended_at_us - 1)
    return replace(e, runs=[*e.runs[:2], early])


def effect_too_early(e: Evidence) -> Evidence:
    early = Effect("e2", "first", e.effects[0].at_us)
    return replace(e, effects=[early, *e.effects])


def swapped_in_log(e: Evidence) -> Evidence:
    first, second, third = e.logged
    return replace(
        e, logged=[first._replace(offset=1), second._replace(offset=0), third]
    )


def step_again_after_journal(e: Evidence) -> Evidence:
    return replace(e, effects=[*e.effects, Effect("e0", "first", 9_000)])


def event_again_after_journal(e: Evidence) -> Evidence:
    return replace(e, runs=[*e.runs, run_of(0, 9_000)])


def effect_missing(e: Evidence) -> Evidence:
    return replace(e, effects=e.effects[1:])


def effect_doubled(e: Evidence) -> Evidence:
    return replace(e, effects=[*e.effects, Effect("e2", "second", 9_000)])


def committed_too_far(e: Evidence) -> Evidence:
    return replace(e, snapshots=[Snapshot(0, 2, frozenset({0, 1, 2}), frozenset({0}))])


def slow_to_accept(e: Evidence) -> Evidence:
    late = Call(invoke=invoke(3, 11 * S), end=accepted(3, 12 * S))
    healed = Fault(at_us=S, name="freeze", healed_us=S + 1)
    return replace(e, calls=[*e.calls, late], faults=[healed])


def never_drained(e: Evidence) -> Evidence:
    return replace(e, drained_us=None)


def late_drained(e: Evidence) -> Evidence:
    return replace(e, drained_us=1_000 * S)


def leaking(e: Evidence) -> Evidence:
    return replace(e, footprints=[Footprint("up", 80.0, 12, 4_000)])


def accepted_without_log(e: Evidence) -> Evidence:
    call = e.calls[1]
    window = (call.invoke.at_us - 1, call.invoke.at_us + 20)
    gone = Fault(at_us=window[0], name="stop", healed_us=S, unwritable_us=window)
    return replace(e, faults=[gone])


PLANTED: list[tuple[Callable[[Evidence], Evidence], Rule]] = [
    (lost, rules_of_log.accepted_is_logged),
    (from_nowhere, rules_of_log.logged_was_invoked),
    (refused_and_kept, rules_of_log.refused_is_not_logged),
    (sent_once_kept_twice, rules_of_log.one_request_is_one_event),
    (key_executed_twice, rules_of_log.one_execution_a_key),
    (never_ended, rules_of_runs.every_event_ends_one_way),
    (completed_and_dead, rules_of_runs.every_event_ends_one_way),
    (dead_without_letter, rules_of_runs.every_event_ends_one_way),
    (overlapping, rules_of_runs.lanes_run_in_order),
    (effect_too_early, rules_of_runs.effects_come_in_order),
    (swapped_in_log, rules_of_log.callers_order_is_the_logs),
    (step_again_after_journal, rules_of_runs.journaled_never_starts_again),
    (event_again_after_journal, rules_of_runs.journaled_never_starts_again),
    (event_again_after_journal, rules_of_runs.nothing_runs_again_behind_the_next),
    (effect_missing, rules_of_runs.effects_are_bounded),
    (effect_doubled, rules_of_runs.effects_are_bounded),
    (committed_too_far, rules_of_runs.commit_passes_nothing_unfinished),
    (slow_to_accept, rules_of_time.accepts_soon_after_healing),
    (never_drained, rules_of_time.drains_in_time),
    (late_drained, rules_of_time.drains_in_time),
    (leaking, rules_of_time.footprints_are_bounded),
    (accepted_without_log, rules_of_time.nothing_accepted_while_unwritable),
]


@pytest.mark.parametrize(
    ("plant", "rule"),
    PLANTED,
    ids=[f"{plant.__name__}-{rule.__name__}" for plant, rule in PLANTED],
)
def test_a_rule_catches_what_is_planted_against_it(
    plant: Callable[[Evidence], Evidence], rule: Rule
) -> None:
    """The run is clean before, and the rule names its violation after."""
    assert check(THREE, [rule]) == []
    assert check(plant(THREE), [rule])


def test_every_rule_has_a_violation_planted_and_a_sentence() -> None:
    """No rule is there that nobody has seen at work."""
    assert {rule for _, rule in PLANTED} == set(RULES)
    assert all((rule.__doc__ or "").splitlines()[0].endswith(".") for rule in RULES)


def test_a_history_file_reads_as_it_was_written(tmp_path: Path) -> None:
    """So a run can be judged again; requests without an end stay open."""
    lines: list[Entry] = [
        invoke(0, 1),
        accepted(0, 2),
        invoke(1, 3),
        Info(at_us=4, caller="c", number=1, text="503"),
        Fault(at_us=4, name="kill", healed_us=5, crashes=1),
        invoke(2, 6),
        Drained(at_us=7),
    ]
    with History(tmp_path / "history.jsonl") as history:
        for line in lines:
            history.add(line)

    again = read_history(tmp_path / "history.jsonl")
    assert again == lines
    assert [call.accepted for call in calls_of(again)] == [True, False, False]
    assert calls_of(again)[2].end is None
    assert msgspec.json.decode(b'{"type":"drained","at_us":7}', type=Entry) == lines[-1]
