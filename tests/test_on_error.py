"""The steps of `on_error`: told of what has failed for good, through crashes."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from hookline.v1 import execution_pb2
from tests.instance import running
from tests.other_system import Other, another_system, calling
from tests.test_controls import decide, decision, has_stuck, id_in
from tests.test_crashes import ONE_PARTITION, crashed
from tests.test_executions import dead_letters
from tests.waiting import until, until_asked

FAILED = execution_pb2.STATUS_FAILED


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    async with another_system() as other:
        yield other


def telling(other: Other, *steps: str) -> str:
    """A flow with a step that fails, and steps that are told of it."""
    lines = "\n".join(
        f"""  - id: {step}
    use: http.request
    with: {{url: "{other.url}/{step}", body: =body}}
    retry: {{maximum_attempts: 3, initial_interval: 1ms}}"""
        for step in steps
    )
    return f"{calling(other.url, 'call')}on_error:\n{lines}\n"


async def test_what_fails_is_told_before_the_next_event_begins(
    tmp_path: Path, other: Other
) -> None:
    """Which event, which step and why; the dead letter is kept before."""
    other.statuses["call"] = [400, 200]
    other.statuses["tell"] = [503, 200]
    other.hangs = lambda call: call.step == "tell" and len(other.calls) == 2
    flow = telling(other, "tell", "more")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b'{"a": 1}')
        later = await hookline.send("calling", b"2")
        await until(lambda: len(other.calls) == 2)
        [letter] = await dead_letters(hookline)
        other.over.set()
        ended = await hookline.ends.wait(id_in(answer))
        await hookline.result(later)

    told = other.calls[1]
    assert letter.event.id == id_in(answer)
    assert other.steps() == ["call", "tell", "tell", "more", "call"]
    assert "400" in told.body.pop("error")
    assert told.body["event"].pop("accepted_at_ms") > 0
    assert told.body == {
        "step": "call",
        "attempts": 1,
        "indeterminate": False,
        "event": {"id": id_in(answer), "flow": "calling", "body": {"a": 1}},
    }
    assert told.key == other.calls[2].key == f"{id_in(answer)}/tell"
    assert other.calls[3].body == {"number": 3}
    assert (ended.status, ended.step, ended.attempts) == (FAILED, "call", 1)
    assert not ended.on_error


async def test_that_nobody_could_be_told_changes_nothing_but_is_said(
    tmp_path: Path, other: Other
) -> None:
    """The event is a dead letter as it is; the end says what failed afterwards."""
    other.statuses |= {"call": [400], "tell": [400]}
    async with running(tmp_path, telling(other, "tell")) as hookline:
        answer = await hookline.send("calling", b"{}")
        ended = await hookline.ends.wait(id_in(answer))
        letters = await dead_letters(hookline)

    assert (ended.status, ended.step) == (FAILED, "call")
    assert "'tell'" in ended.on_error
    assert "400" in ended.on_error
    assert len(letters) == 1


async def test_a_body_that_cannot_be_read_is_told_without_it(
    tmp_path: Path, other: Other
) -> None:
    """As one that a person has edited so."""
    other.statuses["call"] = [503]
    flow = telling(other, "tell").replace("1ms", "1h")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as hookline:
        answer = await hookline.send("calling", b"{}")
        await until_asked(partial(has_stuck, hookline))
        edit = decision("edit_and_retry", body=b"{no JSON")
        await decide(hookline, answer, edit)
        ended = await hookline.ends.wait(id_in(answer))

    assert other.steps() == ["call", "tell"]
    assert "cannot be read" in other.calls[1].body["error"]
    assert other.calls[1].body["event"]["body"] is None
    assert ended.status == FAILED


async def test_what_is_told_already_is_not_told_again_after_a_crash(
    tmp_path: Path, other: Other
) -> None:
    """Killed in the second of the steps: it alone runs again, with the same message."""
    other.statuses["call"] = [400]
    other.hangs = lambda _: len(other.calls) == 3
    flow = telling(other, "tell", "more")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", b"{}")
        await until(lambda: len(other.calls) == 3)
        async with crashed(tmp_path) as hookline:
            ended = await hookline.ends.wait(id_in(answer))
            letters = await dead_letters(hookline)

    assert other.steps() == ["call", "tell", "more", "more"]
    assert other.calls[2] == other.calls[3]
    assert (ended.status, ended.step, ended.attempts) == (FAILED, "call", 1)
    assert len(letters) == 1


async def test_telling_can_be_cancelled(tmp_path: Path, other: Other) -> None:
    """The event has failed all the same, and its letter is kept."""
    other.statuses["call"] = [400]
    other.hangs = lambda call: call.step == "tell"
    async with running(
        tmp_path, telling(other, "tell"), environment=ONE_PARTITION
    ) as hookline:
        answer = await hookline.send("calling", b"{}")
        await until(lambda: "tell" in other.steps())
        await decide(hookline, answer, decision("cancel"))
        ended = await hookline.ends.wait(id_in(answer))
        letters = await dead_letters(hookline)

    assert ended.status == FAILED
    assert "Ada" in ended.on_error
    assert len(letters) == 1


async def test_the_steps_of_on_error_are_checked_as_others_are(tmp_path: Path) -> None:
    """With file, line and field; no two steps of a flow have one id."""
    flow = """
id: wrong
trigger: {webhook: {auth: {type: none}}}
steps: [{id: one, use: filter, with: {condition: =true}}]
on_error:
  - {id: one, use: transfrom}
  - {id: two, use: filter, with: {}}
"""
    async with running(tmp_path) as hookline:
        answer = await hookline.apply(flow)

    assert [(one.line, one.field) for one in answer.mistakes] == [
        (6, "on_error.0.id"),
        (6, "on_error.0.use"),
        (7, "on_error.1.with.condition"),
    ]
