"""Events whose bodies are in the body store: none fails because the store is away."""

from pathlib import Path

import pytest

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
