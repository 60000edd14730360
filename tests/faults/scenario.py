"""A whole run against `hookline up`: callers, faults, the final drain, the evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.effects import STEPS, Receiver, receiving, write_flows
from tests.faults.evidence import Evidence, Footprint, Snapshot
from tests.faults.generator import FATES, Plan, generating
from tests.faults.history import Drained, Fault, History, calls_of, now_us
from tests.faults.looking import Looking, Readable, drain, sqlite_file
from tests.faults.nemesis import Nemesis, Round
from tests.faults.subject import TOPICS, subject_of


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is done: so many flows, these faults, by this build."""

    seed: int
    rounds: Sequence[Round]
    flows: int = 8
    a_second: float = 150.0
    repeats: int = 0
    fates: Sequence[str] = FATES
    wrapper: Sequence[str] = ()
    drain_s: float = 60.0


async def run_scenario(directory: Path, scenario: Scenario) -> Evidence:
    """Do it, and gather what the checker judges; the history is left in the directory."""
    history_path = directory / "history.jsonl"
    async with receiving() as (receiver, url):
        flow_ids = write_flows(directory / "flows", url, scenario.flows)
        failpoints = scenario.rounds[0].failpoints if scenario.rounds else ""
        with History(history_path) as history:
            async with subject_of(
                directory, directory / "flows", scenario.wrapper, failpoints
            ) as subject:
                plan = Plan(
                    subject.address,
                    flow_ids,
                    scenario.seed,
                    a_second=scenario.a_second,
                    repeats=scenario.repeats,
                    fates=scenario.fates,
                )
                async with generating(plan, history) as generator:
                    nemesis = Nemesis(subject, generator, receiver, history)
                    await nemesis.do(scenario.rounds)
                looking = Looking(TOPICS)
                with sqlite_file(subject.data, TOPICS) as file:
                    await note_drained(looking, file, history, scenario.drain_s)
                await subject.stop()
            return evidence_of(
                history,
                looking,
                receiver,
                flow_ids,
                snapshots=subject.snapshots,
                footprints=subject.footprints,
            )


async def note_drained(
    looking: Looking, log: Readable, history: History, seconds: float
) -> None:
    """Read until nothing is behind, and write that down; or for so long."""
    try:
        await drain(looking, log, seconds)
    except TimeoutError:
        return
    history.add(Drained(at_us=now_us()))


def evidence_of(
    history: History,
    looking: Looking,
    receiver: Receiver,
    flow_ids: Sequence[str],
    *,
    snapshots: Sequence[Snapshot],
    footprints: Sequence[Footprint],
) -> Evidence:
    """All that is known of a run, put together."""
    lines = history.lines
    drained = [line.at_us for line in lines if isinstance(line, Drained)]
    return Evidence(
        calls=calls_of(lines),
        faults=[line for line in lines if isinstance(line, Fault)],
        logged=looking.logged,
        runs=looking.runs,
        journaled=looking.journaled,
        letters=looking.letters,
        effects=receiver.effects,
        snapshots=snapshots,
        footprints=footprints,
        drained_us=drained[-1] if drained else None,
        steps_by_flow=dict.fromkeys(flow_ids, STEPS),
    )
