"""Events whose bodies are in the body store: none fails because the store is away."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hookline import components
from hookline.components import Effect, Resources
from hookline.errors import Unavailable
from hookline.event import Message
from hookline.v1 import execution_pb2
from tests.instance import running
from tests.stores import bodies_in, kept
from tests.test_executions import dead_letters
from tests.waiting import until

pytestmark = pytest.mark.slow

FLOW = """
id: counting
trigger: {webhook: {auth: {type: none}}}
steps: [{id: count, use: transform, with: {body: =$count(body)}}]
"""
BODY = b"[" + b"1," * 200_000 + b"1]"
NOWHERE = {
    "HOOKLINE_BODIES__STORE": "s3://nowhere/bodies",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}


async def accept(tmp_path: Path) -> str:
    """Have an event accepted that nobody runs yet; gives its id."""
    async with running(tmp_path, FLOW, executor=False) as hookline:
        answer = await hookline.send("counting", BODY)
    assert answer.status == 200
    assert len(kept(bodies_in(tmp_path / "data"))) == 1
    return answer.headers["x-event-id"]


async def test_a_stored_body_is_what_a_flow_gets(tmp_path: Path) -> None:
    """As one that was in line."""
    async with running(tmp_path, FLOW) as hookline:
        answer = await hookline.send("counting", BODY)

        assert await hookline.result(answer) == 200_001


async def test_an_event_waits_for_its_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said in a line; when the store is there the event runs, and nothing failed."""
    event_id = await accept(tmp_path)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []

    def waits() -> bool:
        said.append(capsys.readouterr().out)
        return "event.waits" in "".join(said)

    async with running(tmp_path, environment=NOWHERE) as hookline:
        await until(waits)
        assert not hookline.ends.by_event
    async with running(tmp_path) as hookline:
        ended = await hookline.ends.wait(event_id)
        assert await dead_letters(hookline) == []

    assert ended.status == execution_pb2.STATUS_COMPLETED
    assert ended.result == b"200001"


class Reading:
    """A component for which the store of bodies is away at first."""

    effect: ClassVar = Effect.ONCE
    away: ClassVar[int] = 1

    class Parameters(components.Parameters):
        """None."""

    def __init__(self, _parameters: Parameters, _resources: Resources) -> None:
        pass

    async def run(self, message: Message) -> Sequence[Message]:
        """Fail once as a body that cannot be read makes it fail."""
        if Reading.away:
            Reading.away -= 1
            raise Unavailable("the body store does not answer")
        return (message,)


async def test_a_step_that_misses_the_store_is_not_failed_for_it(
    tmp_path: Path,
) -> None:
    """It is run again, though it has one attempt, and none is counted."""
    flow = """
id: reading
trigger: {webhook: {auth: {type: none}}}
steps: [{id: read, use: reading, retry: {maximum_attempts: 1}}]
"""
    types: dict[str, Any] = {"reading": Reading}
    async with running(tmp_path, flow, types=types) as hookline:
        answer = await hookline.send("reading", b"{}")
        ended = await hookline.ends.wait(answer.headers["x-event-id"])

    assert ended.status == execution_pb2.STATUS_COMPLETED
    assert ended.attempts == 1


async def test_an_event_whose_body_is_gone_is_a_dead_letter(tmp_path: Path) -> None:
    """It says what is missing; those behind it run."""
    event_id = await accept(tmp_path)
    [body] = kept(bodies_in(tmp_path / "data"))
    body.unlink()
    async with running(tmp_path) as hookline:
        answer = await hookline.send("counting", b"[1]")
        assert await hookline.result(answer) == 1
        [letter] = await dead_letters(hookline)

    assert letter.event.id == event_id
    assert "is not there" in letter.reason


async def test_the_operator_bounds_what_flows_may_take(tmp_path: Path) -> None:
    """A flow that asks for more is a mistake, with its line and the setting."""
    environment = {"HOOKLINE_BODIES__MOST_BYTES": "1000000"}
    greedy = FLOW.replace("{auth", "{max_body: 2MB, auth")
    async with running(tmp_path, FLOW, environment=environment) as hookline:
        refused = await hookline.apply(greedy)
        beyond = await hookline.send("counting", b"[" + b" " * 1_000_000 + b"]")

    [mistake] = refused.mistakes
    assert (mistake.line, mistake.field) == (3, "trigger.webhook.max_body")
    assert "HOOKLINE_BODIES__MOST_BYTES" in mistake.text
    assert beyond.status == 413


class Holding:
    """A component whose steps end when they may."""

    effect: ClassVar = Effect.ONCE
    started: ClassVar[list[str]] = []
    free: ClassVar[asyncio.Event]

    class Parameters(components.Parameters):
        """None."""

    def __init__(self, _parameters: Parameters, _resources: Resources) -> None:
        pass

    async def run(self, message: Message) -> Sequence[Message]:
        """Wait until all may end."""
        Holding.started.append(message.run.flow_id)
        await Holding.free.wait()
        return (message.derive(body=1),)


async def test_so_many_bytes_of_stored_bodies_are_in_hand(tmp_path: Path) -> None:
    """A flow beyond that waits for another one's end; one without such a body does not."""
    flow = """
id: {id}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps: [{{id: hold, use: holding}}]
"""
    ids = [f"flow-{n}" for n in range(7)]
    types: dict[str, Any] = {"holding": Holding, **components.component_types()}
    Holding.free = asyncio.Event()
    body = b'"' + b"x" * 9_900_000 + b'"'
    flows = [flow.format(id=one) for one in ids]
    async with running(tmp_path, FLOW, *flows, types=types) as hookline:
        answers = [await hookline.send(one, body) for one in ids]
        await until(lambda: len(Holding.started) == 6)
        for _ in range(20):
            small = await hookline.send("counting", b"[1]")
            assert await hookline.result(small) == 1
        assert len(Holding.started) == 6

        Holding.free.set()
        for answer in answers:
            assert await hookline.result(answer) == 1
