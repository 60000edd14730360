"""The life of a flow: held, stopped, deleted, brought back; what callers and steps see.

Real HTTP, real gRPC, a real other system; on both logs where it is the log that remembers.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web

from hookline.v1 import execution_pb2, flow_pb2, flow_pb2_grpc
from tests.caller import Answer
from tests.instance import Instance, running
from tests.instance_on_kafka import Opening
from tests.test_executions import dead_letters
from tests.waiting import until, until_asked

COMPLETED = execution_pb2.STATUS_COMPLETED
FAILED = execution_pb2.STATUS_FAILED
ACTIVE = flow_pb2.FLOW_STATE_ACTIVE
SUSPENDED = flow_pb2.FLOW_STATE_SUSPENDED
STOPPED = flow_pb2.FLOW_STATE_STOPPED
DELETED = flow_pb2.FLOW_STATE_DELETED
DISCARDED = "the flow was deleted with --discard"
OTHER = """
id: other
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""


@dataclass(slots=True)
class System:
    """Another system: it notes what it is sent, and answers when it is let go."""

    url: str = ""
    got: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with the next status; the last one is 200."""
        self.got.append(await request.text())
        await self.open.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@asynccontextmanager
async def other_system() -> AsyncIterator[System]:
    """Another system at a port of its own."""
    system = System()
    system.open.set()
    application = web.Application()
    application.router.add_post("/", system.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    system.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield system
    system.open.set()
    await runner.cleanup()


@pytest.fixture
async def system() -> AsyncIterator[System]:
    async with other_system() as system:
        yield system


def calling(system: System, *texts: str, flow_id: str = "calling") -> str:
    """A flow that sends a text a step, each with what the event has said."""
    steps = "\n".join(
        f"""
  - id: step-{number}
    use: http.request
    with: {{url: "{system.url}", body: "='{text}' & trigger.body.n"}}
    retry: {{maximum_attempts: 5, initial_interval: 1ms, maximum_interval: 1ms}}"""
        for number, text in enumerate(texts or ("",))
    )
    return f"""
id: {flow_id}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps: {steps}
"""


async def ask(hookline: Instance, method: str, **asked: Any) -> Any:
    """Call a method of FlowService."""
    stub = flow_pb2_grpc.FlowServiceStub(hookline.channel)
    request = getattr(flow_pb2, f"{method}Request")(**asked)
    return await getattr(stub, method)(request, metadata=hookline.metadata)


async def decide(hookline: Instance, verb: str, **more: Any) -> Any:
    """Suspend, Resume, Stop, Start or Delete the flow `calling`."""
    return await ask(hookline, f"{verb}Flow", flow_id="calling", **more)


async def send(hookline: Instance, n: int, flow_id: str = "calling") -> Answer:
    """Send a numbered event."""
    return await hookline.send(flow_id, b'{"n": %d}' % n)


async def ends(
    hookline: Instance, answers: Sequence[Answer]
) -> list[execution_pb2.ExecutionEnded]:
    """How the executions of answers end, when they have."""
    return [await hookline.ends.wait(one.headers["x-event-id"]) for one in answers]


async def state(hookline: Instance) -> int:
    """What FlowService says of the flow `calling`."""
    answer = await ask(hookline, "ListFlows", deleted=True)
    [found] = [one.state for one in answer.flows if one.flow_id == "calling"]
    return int(found)


async def test_a_suspended_flow_accepts_and_keeps_and_runs_in_order_when_resumed(
    open_instance: Opening, system: System
) -> None:
    """Nothing of it starts meanwhile, another flow goes on, nothing is out of order."""
    async with open_instance(calling(system), OTHER) as hookline:
        suspended = await decide(hookline, "Suspend")
        answers = [await send(hookline, n) for n in range(5)]
        # The other flow's event is read after these, in the same or another partition.
        await ends(hookline, [await send(hookline, 0, "other")])
        got_meanwhile = list(system.got)
        state_meanwhile = await state(hookline)
        resumed = await decide(hookline, "Resume")
        ended = await ends(hookline, answers)

    assert (suspended.changed, suspended.flow.state) == (True, SUSPENDED)
    assert {answer.status for answer in answers} == {200}
    assert (got_meanwhile, state_meanwhile) == ([], SUSPENDED)
    assert (resumed.changed, resumed.flow.state) == (True, ACTIVE)
    assert [one.status for one in ended] == [COMPLETED] * 5
    assert system.got == list("01234")


async def test_a_step_that_runs_ends_and_the_next_one_waits_for_the_resume(
    tmp_path: Path, system: System
) -> None:
    """What was done is in the journal: it is not done again."""
    system.open.clear()
    async with running(tmp_path, calling(system, "a", "b")) as hookline:
        answer = await send(hookline, 1)
        await until(lambda: system.got == ["a1"])
        await decide(hookline, "Suspend")
        system.open.set()
        await until_asked(partial(has_progress, hookline))
        await hookline.result(await sent_through(hookline))
        got_meanwhile = list(system.got)
        await decide(hookline, "Resume")
        [ended] = await ends(hookline, [answer])

    assert got_meanwhile == ["a1"]
    assert system.got == ["a1", "b1"]
    assert ended.status == COMPLETED


async def sent_through(hookline: Instance) -> Answer:
    """An event of another flow: when it has ended, what was before it had its turn."""
    await hookline.apply(OTHER)
    return await send(hookline, 0, "other")


async def has_progress(hookline: Instance) -> bool:
    """Whether the journal has a step that is done."""
    topic = hookline.hosted.topics.executions
    for partition in range(topic.partitions):
        reading = hookline.hosted.log.read(topic, partition, 0, 1_000_000)
        async for batch in reading:
            for record in batch:
                entry = execution_pb2.JournalEntry.FromString(record.value or b"")
                if entry.HasField("progress"):
                    return True
    return False


async def test_a_retry_that_falls_due_does_not_start_while_suspended(
    tmp_path: Path, system: System
) -> None:
    """It starts after the resume, under its number."""
    system.open.clear()
    system.statuses = [503, 200]
    async with running(tmp_path, calling(system)) as hookline:
        answer = await send(hookline, 1)
        await until(lambda: system.got == ["1"])
        await decide(hookline, "Suspend")
        system.open.set()
        await until_asked(partial(has_progress, hookline))
        await hookline.result(await sent_through(hookline))
        got_meanwhile = list(system.got)
        await decide(hookline, "Resume")
        [ended] = await ends(hookline, [answer])

    assert got_meanwhile == ["1"]
    assert (ended.status, ended.attempts) == (COMPLETED, 2)


async def test_a_stopped_flow_is_404_and_keeps_what_it_had_until_it_is_started(
    open_instance: Opening, system: System
) -> None:
    """As a flow that there never was; what was accepted runs after the start."""
    system.open.clear()
    async with open_instance(calling(system)) as hookline:
        answers = [await send(hookline, n) for n in range(3)]
        await until(lambda: system.got == ["0"])
        await decide(hookline, "Stop")
        system.open.set()
        refused = await send(hookline, 9)
        unknown = await hookline.send("nobody", b"{}")
        await ends(hookline, answers[:1])
        stopped = await state(hookline)
        await decide(hookline, "Start")
        accepted = await send(hookline, 3)
        await ends(hookline, [*answers, accepted])

    assert (refused.status, stopped, accepted.status) == (404, STOPPED, 200)
    assert refused.json["detail"] == unknown.json["detail"]
    assert system.got == list("0123")


async def test_what_a_deleted_flow_had_accepted_runs_to_its_end(
    open_instance: Opening, system: System
) -> None:
    """Callers get 404 from then on; it is in no list but that of deleted flows."""
    system.open.clear()
    async with open_instance(calling(system)) as hookline:
        answers = [await send(hookline, n) for n in range(3)]
        await decide(hookline, "Delete")
        refused = await send(hookline, 9)
        system.open.set()
        ended = await ends(hookline, answers)
        listed = await ask(hookline, "ListFlows")
        gone = await state(hookline)

    assert refused.status == 404
    assert [one.status for one in ended] == [COMPLETED] * 3
    assert "calling" not in [one.flow_id for one in listed.flows]
    assert gone == DELETED
    assert system.got == list("012")


async def test_deleting_with_discard_makes_dead_letters_of_what_was_accepted(
    open_instance: Opening, system: System
) -> None:
    """In order, with the reason; no step runs. What is suspended is discarded, too."""
    async with open_instance(calling(system)) as hookline:
        before = len(await dead_letters(hookline))
        await decide(hookline, "Suspend")
        answers = [await send(hookline, n) for n in range(3)]
        deleted = await decide(hookline, "Delete", discard=True)
        ended = await ends(hookline, answers)
        letters = (await dead_letters(hookline))[before:]

    assert (deleted.flow.state, deleted.flow.discarded) == (DELETED, True)
    assert [(one.status, one.reason) for one in ended] == [(FAILED, DISCARDED)] * 3
    assert [one.event.request.body for one in letters] == [
        b'{"n": %d}' % n for n in range(3)
    ]
    assert {one.reason for one in letters} == {DISCARDED}
    assert system.got == []


async def test_a_step_that_runs_while_its_flow_is_discarded_is_the_last_one(
    tmp_path: Path, system: System
) -> None:
    """It ends; the next one does not start."""
    system.open.clear()
    async with running(tmp_path, calling(system, "a", "b")) as hookline:
        answer = await send(hookline, 1)
        await until(lambda: system.got == ["a1"])
        await decide(hookline, "Delete", discard=True)
        system.open.set()
        [ended] = await ends(hookline, [answer])

    assert (ended.status, ended.reason, ended.attempts) == (FAILED, DISCARDED, 1)
    assert system.got == ["a1"]


async def test_a_flow_that_is_applied_again_after_its_deletion_is_a_new_version(
    open_instance: Opening, system: System
) -> None:
    """What was discarded before stays so; what comes now runs."""
    async with open_instance(calling(system)) as hookline:
        known = await ask(hookline, "ListFlowVersions", flow_id="calling")
        await decide(hookline, "Suspend")
        old = await send(hookline, 1)
        await decide(hookline, "Delete", discard=True)
        [applied] = (await hookline.apply(calling(system))).flows
        new = await send(hookline, 2)
        ended = await ends(hookline, [old, new])
        again = await state(hookline)

    newest = known.versions[0].version
    assert (applied.version, applied.changed) == (newest + 1, True)
    assert [one.status for one in ended] == [FAILED, COMPLETED]
    assert again == ACTIVE
    assert system.got == ["2"]


async def test_what_is_decided_outlives_a_restart(
    tmp_path: Path, system: System
) -> None:
    """Nothing of a suspended flow starts before it is resumed, in whichever process."""
    async with running(tmp_path, calling(system)) as hookline:
        await decide(hookline, "Suspend")
        await send(hookline, 1)
    async with running(tmp_path, OTHER) as hookline:
        await hookline.result(await send(hookline, 0, "other"))
        kept, got_meanwhile = await state(hookline), list(system.got)
        await decide(hookline, "Resume")
        await until(lambda: system.got == ["1"])
        await decide(hookline, "Stop")
    async with running(tmp_path) as hookline:
        refused = await send(hookline, 2)

    assert (kept, got_meanwhile) == (SUSPENDED, [])
    assert refused.status == 404


async def test_events_run_on_the_version_they_were_accepted_under(
    open_instance: Opening, system: System
) -> None:
    """A flow that changes in the middle of an event changes the next one's steps only."""
    system.open.clear()
    async with open_instance(calling(system, "a", "b")) as hookline:
        old = await send(hookline, 1)
        await until(lambda: system.got == ["a1"])
        await hookline.apply(calling(system, "x"))
        new = await send(hookline, 2)
        system.open.set()
        await ends(hookline, [old, new])

    assert system.got == ["a1", "b1", "x2"]


async def test_a_roll_back_is_a_new_version_with_an_older_definition(
    open_instance: Opening, system: System
) -> None:
    """It says which one; without a number it is the one before."""
    async with open_instance(calling(system, "one")) as hookline:
        versions = await ask(hookline, "ListFlowVersions", flow_id="calling")
        first = versions.versions[0].version
        await hookline.apply(calling(system, "two"))
        back = await ask(hookline, "RollBackFlow", flow_id="calling")
        again = await ask(hookline, "RollBackFlow", flow_id="calling", version=first)
        await ends(hookline, [await send(hookline, 1)])
        versions = await ask(hookline, "ListFlowVersions", flow_id="calling")

    assert (back.flow.version, back.rolled_back_to) == (first + 2, first)
    assert not again.flow.changed
    newest = [(v.version, v.rolled_back_to, v.current) for v in versions.versions[:3]]
    assert newest == [
        (first + 2, first, True),
        (first + 1, 0, False),
        (first, 0, False),
    ]
    assert system.got == ["one1"]


async def test_a_deleted_flow_comes_back_by_a_roll_back(
    tmp_path: Path, system: System
) -> None:
    """As it was last, where no version is named."""
    async with running(tmp_path, calling(system)) as hookline:
        await decide(hookline, "Delete")
        back = await ask(hookline, "RollBackFlow", flow_id="calling")
        accepted = await send(hookline, 1)

    assert (back.flow.version, back.rolled_back_to, accepted.status) == (2, 1, 200)


async def test_a_new_version_leaves_a_flow_suspended(
    tmp_path: Path, system: System
) -> None:
    """Or stopped: applying a file decides nothing."""
    async with running(tmp_path, calling(system, "a")) as hookline:
        await decide(hookline, "Suspend")
        await hookline.apply(calling(system, "b"))
        suspended = await state(hookline)
        await decide(hookline, "Stop")
        await hookline.apply(calling(system, "c"))
        stopped = await state(hookline)
        refused = await send(hookline, 1)

    assert (suspended, stopped, refused.status) == (SUSPENDED, STOPPED, 404)


@pytest.mark.parametrize(
    ("before", "verb", "code"),
    [
        ([], "Suspend", None),
        (["Suspend"], "Resume", None),
        (["Suspend"], "Start", grpc.StatusCode.FAILED_PRECONDITION),
        (["Suspend"], "Stop", None),
        (["Stop"], "Suspend", grpc.StatusCode.FAILED_PRECONDITION),
        (["Stop"], "Resume", grpc.StatusCode.FAILED_PRECONDITION),
        (["Suspend", "Stop"], "Start", None),
        (["Stop"], "Delete", None),
        (["Delete"], "Suspend", grpc.StatusCode.NOT_FOUND),
        (["Delete"], "Start", grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_where_a_decision_leads_and_from_where_not(
    tmp_path: Path,
    system: System,
    before: list[str],
    verb: str,
    code: grpc.StatusCode | None,
) -> None:
    """What is so already is fine, and says so; a refusal says what to do."""
    async with running(tmp_path, calling(system)) as hookline:
        for one in before:
            await decide(hookline, one)
        if code is None:
            assert (await decide(hookline, verb)).changed
            assert not (await decide(hookline, verb)).changed
        else:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await decide(hookline, verb)
            assert refused.value.code() == code
            assert "hookline flows" in (refused.value.details() or "")


async def test_a_deletion_can_be_made_one_that_discards(
    tmp_path: Path, system: System
) -> None:
    """Until then what was accepted runs; not the other way round."""
    system.open.clear()
    async with running(tmp_path, calling(system)) as hookline:
        answers = [await send(hookline, n) for n in range(2)]
        await until(lambda: system.got == ["0"])
        await decide(hookline, "Delete")
        more = await decide(hookline, "Delete", discard=True)
        again = await decide(hookline, "Delete")
        system.open.set()
        ended = await ends(hookline, answers)

    assert (more.changed, again.changed) == (True, False)
    assert again.flow.discarded
    assert [one.status for one in ended] == [COMPLETED, FAILED]


@pytest.mark.parametrize("method", ["SuspendFlow", "DeleteFlow", "ListFlowVersions"])
async def test_a_flow_that_never_was_is_not_found_and_the_nearest_is_named(
    tmp_path: Path, system: System, method: str
) -> None:
    """As in a typing mistake."""
    async with running(tmp_path, calling(system)) as hookline:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(hookline, method, flow_id="caling")

    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert "did you mean 'calling'?" in (refused.value.details() or "")


async def test_a_version_that_cannot_be_served_any_more_is_not_rolled_back_to(
    tmp_path: Path, system: System
) -> None:
    """A secret that is gone is named."""
    keyed = calling(system).replace("type: none", 'type: api_key, value: "${secret:K}"')
    async with running(
        tmp_path, keyed, environment={"HOOKLINE_SECRET_K": "1"}
    ) as hookline:
        await hookline.apply(calling(system))
    async with running(tmp_path) as hookline:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(hookline, "RollBackFlow", flow_id="calling")

    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "HOOKLINE_SECRET_K" in (refused.value.details() or "")


@pytest.mark.parametrize("decision", ["deleted", "rolled back to version 1"])
async def test_what_a_person_has_decided_holds_until_the_flows_file_changes(
    tmp_path: Path, system: System, decision: str
) -> None:
    """`up` applies its files at every start; one that is as it was brings nothing back."""
    flows = tmp_path / "flows"
    flows.mkdir()
    file = flows / "calling.yaml"
    file.write_text(calling(system, "bad"))
    async with running(tmp_path, calling(system, "good")) as hookline:
        await hookline.apply(calling(system, "bad"))
        if decision == "deleted":
            await decide(hookline, "Delete")
        else:
            await ask(hookline, "RollBackFlow", flow_id="calling")
    async with running(tmp_path, flow_directory=flows) as hookline:
        directory = hookline.hosted.directory
        left = [(one.flow_id, one.done) for one in directory.news.overruled]
        [before] = (await ask(hookline, "ListFlows", deleted=True)).flows
        file.write_text(calling(system, "better"))
        changed = (await directory.apply()).changed
        await ends(hookline, [await send(hookline, 1)])

    assert left == [("calling", decision)]
    assert before.state == (DELETED if decision == "deleted" else ACTIVE)
    assert [one.version for one in changed] == [before.version + 1]
    assert system.got == ["better1"]


async def test_a_flow_whose_file_is_applied_again_stays_suspended(
    tmp_path: Path, system: System
) -> None:
    """At a start, and when its file has changed."""
    flows = tmp_path / "flows"
    flows.mkdir()
    file = flows / "calling.yaml"
    file.write_text(calling(system))
    async with running(tmp_path, flow_directory=flows) as hookline:
        await decide(hookline, "Suspend")
    async with running(tmp_path, flow_directory=flows) as hookline:
        at_start = await state(hookline)
        told = hookline.hosted.directory.held()
        file.write_text(calling(system, "new"))
        changed = (await hookline.hosted.directory.apply()).changed
        after = await state(hookline)

    assert (at_start, after) == (SUSPENDED, SUSPENDED)
    assert told == [("calling", "resume")]
    assert len(changed) == 1


async def test_a_flow_of_steps_without_effects_is_held_as_any_other(
    tmp_path: Path,
) -> None:
    """They are run before there is a record of the execution; not while it is held."""
    async with running(tmp_path, OTHER) as hookline:
        await ask(hookline, "SuspendFlow", flow_id="other")
        kept = await send(hookline, 1, "other")
        await ask(hookline, "DeleteFlow", flow_id="other", discard=True)
        [discarded] = await ends(hookline, [kept])

    assert (discarded.status, discarded.reason) == (FAILED, DISCARDED)
