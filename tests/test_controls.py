"""What people decide about single events: at once, once, and through restarts."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hookline.claims import Claim
from hookline.components import Effect, Resources, component_types
from hookline.components import Parameters as NoParameters
from hookline.controls import ask
from hookline.event import Message
from hookline.v1 import control_pb2, event_pb2, execution_pb2
from tests.caller import Answer
from tests.instance import Instance, running
from tests.other_system import Other, another_system, calling
from tests.processes import run
from tests.test_crashes import (
    ONE_PARTITION,
    Post,
    crashed,
    has_failed,
    is_held,
    journal,
    last_progress,
    shown,
    write,
    written,
)
from tests.test_executions import dead_letters
from tests.waiting import until, until_asked

HOLD = "on_exhausted: hold"
SKIPPED = execution_pb2.STATUS_SKIPPED
CANCELLED = execution_pb2.STATUS_CANCELLED
COMPLETED = execution_pb2.STATUS_COMPLETED
FAILED = execution_pb2.STATUS_FAILED


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    async with another_system() as other:
        yield other


def decision(what: str, **edit: Any) -> control_pb2.Control:
    """A control that does not say yet which event is meant."""
    control = control_pb2.Control(by="Ada")
    getattr(control, what).SetInParent()
    control_edit = control_pb2.EditAndRetry(**edit)
    if edit:
        control.edit_and_retry.CopyFrom(control_edit)
    return control


async def decide(
    hookline: Instance, answer: Answer, control: control_pb2.Control
) -> None:
    """Ask for something to be done with the event that an answer speaks of."""
    event = await shown(hookline, id_in(answer))
    control.event_id, control.flow_id = event.event_id, event.flow_id
    control.partition, control.event_offset = event.partition, event.offset
    await ask(hookline.hosted.log, hookline.hosted.topics, control)


def id_in(answer: Answer) -> str:
    return answer.headers["x-event-id"]


async def taken(hookline: Instance, count: int = 1) -> list[execution_pb2.ControlTaken]:
    """What came of controls, when it is written down of so many."""
    found: list[execution_pb2.ControlTaken] = []

    async def are_taken() -> bool:
        entries = await journal(hookline)
        found[:] = [one.control for one in entries if one.HasField("control")]
        return len(found) >= count

    await until_asked(are_taken)
    return found


def waiting(other: Other, more: str = "") -> str:
    """A flow whose second attempt is due in an hour."""
    return calling(other.url, "call", more=more).replace("1ms", "1h")


async def test_an_attempt_that_waits_is_made_when_a_person_asks(
    tmp_path: Path, other: Other
) -> None:
    """It counts as the next one."""
    other.statuses["call"] = [503, 200]
    flow = waiting(other)
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        await until_asked(partial(has_failed, hookline))
        await decide(hookline, answer, decision("retry_now"))
        ended = await hookline.ends.wait(id_in(answer))

    assert (ended.status, ended.attempts) == (COMPLETED, 2)


async def test_what_is_held_goes_on_where_it_failed_when_a_person_asks(
    tmp_path: Path, other: Other
) -> None:
    """With its attempts counted anew; what was done is not done again."""
    other.statuses["second"] = [503, 503, 503, 503, 200]
    flow = calling(other.url, "first", "second", more=HOLD)
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        later = await hookline.send("calling", b"{}")
        await until_asked(partial(is_held, hookline, id_in(answer)))
        await decide(hookline, answer, decision("retry_now"))
        ended = await hookline.ends.wait(id_in(answer))
        await hookline.result(later)

    assert (ended.status, ended.attempts) == (COMPLETED, 6)
    assert other.steps() == ["first", *["second"] * 5, "first", "second"]
    assert [one.id for one in hookline.ends.order] == [id_in(answer), id_in(later)]


POSTING = """
id: posting
trigger: {webhook: {auth: {type: none}}}
on_exhausted: hold
steps: [{id: post, use: post, timeout: 100ms}]
"""


async def test_what_may_be_done_already_is_sent_again_once_for_each_time_of_asking(
    tmp_path: Path,
) -> None:
    """Of a step that is not repeatable; a control that is there twice is one."""
    Post.sent, Post.hang = [], True
    types = {**component_types(), "post": Post}
    starting = running(tmp_path, POSTING, environment=ONE_PARTITION, types=types)
    async with starting as hookline:
        answer = await hookline.send("posting", b"{}")
        await until_asked(partial(is_held, hookline, id_in(answer)))
        retry = decision("retry_now")
        await decide(hookline, answer, retry)
        await until(lambda: len(Post.sent) == 2)
        await until_asked(partial(is_held, hookline, id_in(answer)))
        await decide(hookline, answer, retry)
        _, repeat = await taken(hookline, 2)
        sent = len(Post.sent)
        Post.hang = False
        await decide(hookline, answer, decision("retry_now"))
        await hookline.result(answer)

    assert "twice" in repeat.no_effect
    assert (sent, len(Post.sent)) == (2, 3)


@pytest.mark.parametrize(("what", "status"), [("skip", SKIPPED), ("cancel", CANCELLED)])
@pytest.mark.parametrize("statuses", [[503], [400]])
async def test_what_waits_or_is_held_ends_at_once(
    tmp_path: Path, other: Other, what: str, status: int, statuses: list[int]
) -> None:
    """With who has decided it, and why it had failed; the lane goes on."""
    other.statuses["call"] = [*statuses, 200]
    flow = waiting(other, more=HOLD)
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        later = await hookline.send("calling", b"{}")
        await until_asked(partial(has_stuck, hookline))
        await decide(hookline, answer, decision(what))
        ended = await hookline.ends.wait(id_in(answer))
        await hookline.result(later)
        letters = await dead_letters(hookline)

    assert (ended.status, ended.step, ended.attempts) == (
        status,
        "call",
        0 if statuses == [503] else 1,
    )
    assert "by Ada" in ended.reason
    assert str(statuses[0]) in ended.reason
    assert not ended.indeterminate
    assert not letters
    assert other.steps() == ["call", "call"]


async def has_stuck(hookline: Instance) -> bool:
    """Whether the last that the journal says of it is a failed attempt, or held."""
    progress = await last_progress(hookline)
    return progress.HasField("failed") or progress.HasField("held")


async def test_what_waits_behind_others_ends_when_its_turn_comes(
    tmp_path: Path, other: Other
) -> None:
    """In its place, without a step."""
    other.hangs = lambda _: len(other.calls) == 1
    flow = calling(other.url, "call")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answers = [await hookline.send("calling", b"%d" % one) for one in range(4)]
        await until(lambda: len(other.calls) == 1)
        await decide(hookline, answers[1], decision("skip"))
        await decide(hookline, answers[2], decision("cancel"))
        await taken(hookline, 2)
        other.over.set()
        await hookline.ends.wait_count(4)

    ids = [id_in(one) for one in answers]
    assert [one.id for one in hookline.ends.order] == ids
    assert [hookline.ends.by_event[one].status for one in ids] == [
        *(COMPLETED, SKIPPED, CANCELLED, COMPLETED)
    ]
    assert [call.body["got"] for call in other.calls] == [0, 3]


async def test_a_step_that_runs_may_end_where_its_event_is_skipped(
    tmp_path: Path, other: Other
) -> None:
    """No other one starts."""
    other.hangs = lambda _: len(other.calls) == 1
    flow = calling(other.url, "first", "second")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        await until(lambda: len(other.calls) == 1)
        await decide(hookline, answer, decision("skip"))
        await taken(hookline)
        assert id_in(answer) not in hookline.ends.by_event
        other.over.set()
        ended = await hookline.ends.wait(id_in(answer))

    assert (ended.status, ended.indeterminate) == (SKIPPED, False)
    assert other.steps() == ["first"]


async def test_a_step_that_runs_is_cut_off_where_its_event_is_cancelled(
    tmp_path: Path, other: Other
) -> None:
    """Its work may have been done, and that is said; the next event runs."""
    other.hangs = lambda _: len(other.calls) == 1
    flow = calling(other.url, "first", "second")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        await until(lambda: len(other.calls) == 1)
        await decide(hookline, answer, decision("cancel"))
        ended = await hookline.ends.wait(id_in(answer))
        await hookline.result(await hookline.send("calling", b"{}"))

    assert (ended.status, ended.step, ended.indeterminate) == (
        *(CANCELLED, "first"),
        True,
    )
    assert "by Ada" in ended.reason
    assert other.steps() == ["first", "first", "second"]


async def test_an_edited_event_begins_anew_as_if_it_had_been_sent_like_that(
    tmp_path: Path, other: Other
) -> None:
    """Under new idempotency keys, from its first step; what was sent is in the log."""
    other.statuses["second"] = [400, 200]
    flow = calling(other.url, "first", "second", more=HOLD)
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b'{"a":  "wrong"}')
        await until_asked(partial(is_held, hookline, id_in(answer)))
        await decide(hookline, answer, decision("edit_and_retry", body=b'"right"'))
        await hookline.result(answer)
        event = await hookline.event(answer)

    assert event.request.body == b'{"a":  "wrong"}'
    assert [call.body["got"] for call in other.calls if call.step == "first"] == [
        {"a": "wrong"},
        "right",
    ]
    assert [call.key.partition("/")[2] for call in other.calls] == [
        *("first", "second", "first/edit1", "second/edit1")
    ]


async def test_an_edited_event_that_fails_is_a_dead_letter_as_it_was_sent(
    tmp_path: Path, other: Other
) -> None:
    """Edited while it waited for its next attempt, its headers, too."""
    other.statuses["call"] = [503, 400]
    flow = waiting(other).replace("got: =body", "got: =body, kind: =headers.kind")
    headers = [
        event_pb2.Header(name=b"Content-Type", value=b"application/json"),
        event_pb2.Header(name=b"Kind", value=b"mended"),
    ]
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"[1]")
        await until_asked(partial(has_failed, hookline))
        edit = decision("edit_and_retry", body=b"[2]", headers=headers)
        await decide(hookline, answer, edit)
        await hookline.ends.wait(id_in(answer))
        [letter] = await dead_letters(hookline)

    assert letter.event.request.body == b"[1]"
    assert other.calls[1].body == {"got": [2], "kind": "mended"}


async def test_what_has_ended_stays_as_it_is(tmp_path: Path, other: Other) -> None:
    """Whatever is asked: it is written down that nothing came of it, and why."""
    flow = calling(other.url, "call")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        await written(hookline, 1)
        for what in ("retry_now", "skip", "cancel", "edit_and_retry"):
            await decide(hookline, answer, decision(what))
        found = await taken(hookline, 4)
        event = await shown(hookline, id_in(answer))

    assert all("ended" in one.no_effect for one in found)
    assert event.status == COMPLETED
    assert other.steps() == ["call"]


async def test_a_decision_holds_for_no_other_event(
    tmp_path: Path, other: Other
) -> None:
    """One that names another event at a position, or a position with none."""
    flow = calling(other.url, "call")
    other.hangs = lambda _: len(other.calls) == 1
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        event = await shown(hookline, id_in(answer))
        for offset, event_id in ((event.offset, "x"), (99, event.event_id)):
            control = decision("skip")
            control.event_id, control.flow_id = event_id, "calling"
            control.event_offset = offset
            await ask(hookline.hosted.log, hookline.hosted.topics, control)
        await hookline.hosted.log.append(
            hookline.hosted.topics.controls, b"calling", b"\xff no control"
        )
        found = await taken(hookline, 3)
        other.over.set()
        await hookline.result(answer)

    assert ["no such event" in one.no_effect for one in found] == [True, True, False]
    assert "no control" in found[2].no_effect


async def test_what_is_asked_while_no_executor_runs_is_done_when_one_does(
    tmp_path: Path, other: Other
) -> None:
    """Before any step of the event, and once, however often it starts."""
    flow = calling(other.url, "call")
    quiet = running(tmp_path, flow, environment=ONE_PARTITION, executor=False)
    async with quiet as before:
        first = await before.send("calling", b"1")
        second = await before.send("calling", b"2")
        await decide(before, second, decision("skip"))
    for _ in range(2):
        async with running(tmp_path, environment=ONE_PARTITION) as hookline:
            await taken(hookline)
            await written(hookline, 2)
            found = await taken(hookline)
            ends = [await shown(hookline, id_in(one)) for one in (first, second)]

    assert len(found) == 1
    assert [one.status for one in ends] == [COMPLETED, SKIPPED]


async def test_a_decision_outlives_a_crash(tmp_path: Path, other: Other) -> None:
    """Skipped behind one that hangs: ended so by whoever comes next, told once."""
    other.hangs = lambda _: len(other.calls) == 1
    flow = calling(other.url, "call")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        stuck = await before.send("calling", b"1")
        behind = await before.send("calling", b"2")
        await until(lambda: len(other.calls) == 1)
        await decide(before, behind, decision("cancel"))
        await taken(before)
        async with crashed(tmp_path) as hookline:
            await hookline.result(stuck)
            ended = await hookline.ends.wait(id_in(behind))
            found = await taken(hookline)

    assert ended.status == CANCELLED
    assert len(found) == 1
    assert [call.body["got"] for call in other.calls] == [1, 1]


async def test_a_kill_between_a_decision_and_what_follows_changes_neither(
    tmp_path: Path, other: Other
) -> None:
    """What came of it is in the journal: the attempt is made after a start, once."""
    other.statuses["call"] = [503, 200]
    flow = waiting(other)
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", b"{}")
        await until_asked(partial(has_failed, before))
    quiet = running(tmp_path, environment=ONE_PARTITION, executor=False)
    async with quiet as before:
        await decide(before, answer, decision("retry_now"))
    point = "executor.after_control_before_acting:kill"
    code, _, _ = await run(
        *("up", "--data", str(tmp_path / "data"), "--flows", str(tmp_path / "no")),
        *("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        environment={**ONE_PARTITION, "HOOKLINE_FAILPOINTS": point},
    )
    calls = len(other.calls)
    async with running(tmp_path, environment=ONE_PARTITION) as hookline:
        ended = await hookline.ends.wait(id_in(answer))
        found = await taken(hookline)

    assert (code, calls, len(other.calls)) == (-signal.SIGKILL, 1, 2)
    assert (ended.status, ended.attempts) == (COMPLETED, 2)
    assert len(found) == 1


async def test_what_an_owner_of_before_makes_of_a_decision_is_ignored(
    tmp_path: Path, other: Other
) -> None:
    """It wakes up and writes behind the new claim: the one who owns it decides."""
    flow = calling(other.url, "call")
    quiet = running(tmp_path, flow, environment=ONE_PARTITION, executor=False)
    async with quiet as before:
        first = await before.send("calling", b"1")
        second = await before.send("calling", b"2")
        await decide(before, second, decision("skip"))
        await write(before, Claim(7, 1), claim=execution_pb2.Claim())
        await write(before, Claim(8, 2), claim=execution_pb2.Claim())
        late = execution_pb2.ControlTaken(control_id="late")
        late.progress.number = 1
        late.progress.decided.status = CANCELLED
        await write(before, Claim(7, 1), event_id=id_in(first), control=late)
    async with running(tmp_path, environment=ONE_PARTITION) as hookline:
        ends = [await hookline.ends.wait(id_in(one)) for one in (first, second)]

    assert [one.status for one in ends] == [COMPLETED, SKIPPED]
    assert len(other.calls) == 1


@dataclass(slots=True)
class Stubborn:
    """A step that takes no notice of being cut off."""

    Parameters: ClassVar = NoParameters
    effect: ClassVar = Effect.REPEATABLE
    runs: ClassVar[int] = 0
    parameters: NoParameters
    resources: Resources

    async def run(self, _: Message) -> list[Message]:
        """Wait for ever, whatever comes."""
        Stubborn.runs += 1
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


STUBBORN = """
id: stubborn
trigger: {webhook: {auth: {type: none}}}
steps: [{id: go, use: stubborn, timeout: LIMIT,
         retry: {maximum_attempts: 1}}]
"""


@pytest.mark.parametrize("limit", ["50ms", "1h"])
async def test_a_step_that_takes_no_notice_holds_neither_its_lane_nor_the_end(
    tmp_path: Path, limit: str
) -> None:
    """When its time is over, when its event is cancelled, when the executor stops."""
    Stubborn.runs = 0
    types = {**component_types(), "stubborn": Stubborn}
    flow = STUBBORN.replace("LIMIT", limit)
    starting = running(tmp_path, flow, environment=ONE_PARTITION, types=types)
    async with starting as hookline:
        answer = await hookline.send("stubborn", b"{}")
        await until(lambda: Stubborn.runs == 1)
        if limit == "1h":
            await decide(hookline, answer, decision("cancel"))
        ended = await hookline.ends.wait(id_in(answer))
        await hookline.send("stubborn", b"{}")
        await until(lambda: Stubborn.runs == 2)

    assert ended.status == (CANCELLED if limit == "1h" else FAILED)
    assert ended.indeterminate == (limit == "1h")
