"""Executions: attempts, dead letters, filters, conditions; a bad flow harms no other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from hookline.components import component_types
from hookline.v1 import execution_pb2
from tests.instance import Instance, running


@asynccontextmanager
async def answering(*statuses: int) -> AsyncIterator[tuple[str, list[str]]]:
    """Another system that answers with these statuses in turn, the last for ever."""
    keys: list[str] = []
    left = list(statuses)

    async def answer(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0])

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", keys
    await runner.cleanup()


def calling(url: str, attempts: int) -> str:
    return f"""
id: calling
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - id: call
    use: http.request
    with: {{url: "{url}"}}
    retry: {{maximum_attempts: {attempts}, initial_interval: 1ms}}
"""


async def dead_letters(hookline: Instance) -> list[execution_pb2.DeadLetter]:
    """What is in the topic `dead_letters`."""
    return [
        execution_pb2.DeadLetter.FromString(record.value or b"")
        for partition in range(hookline.hosted.topics.dead_letters.partitions)
        async for batch in hookline.hosted.log.read(
            hookline.hosted.topics.dead_letters, partition, 0, 1_000_000
        )
        for record in batch
    ]


async def test_a_step_is_tried_again_under_one_idempotency_key(tmp_path: Path) -> None:
    """503, 429, then 200: three attempts, one key, completed."""
    async with (
        answering(503, 429, 200) as (url, keys),
        running(tmp_path, calling(url, 5)) as hookline,
    ):
        answer = await hookline.send("calling", b"{}")
        ended = await hookline.ends.wait(answer.headers["x-event-id"])

    assert ended.status == execution_pb2.STATUS_COMPLETED
    assert ended.attempts == 3
    assert keys == [f"{answer.headers['x-event-id']}/call"] * 3


async def test_what_fails_for_good_is_kept_whole_with_the_reason(
    tmp_path: Path,
) -> None:
    """After the last attempt: a dead letter with the original bytes."""
    async with (
        answering(503) as (url, keys),
        running(tmp_path, calling(url, 3)) as hookline,
    ):
        answer = await hookline.send("calling", b'{"a":  1}')
        ended = await hookline.ends.wait(answer.headers["x-event-id"])
        [letter] = await dead_letters(hookline)

    assert ended.status == execution_pb2.STATUS_FAILED
    assert len(keys) == 3
    assert letter.event.id == answer.headers["x-event-id"]
    assert letter.event.request.body == b'{"a":  1}'
    assert (letter.step, letter.attempts) == ("call", 3)
    assert "503" in letter.reason


async def test_a_final_answer_is_not_tried_again(tmp_path: Path) -> None:
    """400 is final: one attempt."""
    async with (
        answering(400) as (url, keys),
        running(tmp_path, calling(url, 5)) as hookline,
    ):
        answer = await hookline.send("calling", b"{}")
        ended = await hookline.ends.wait(answer.headers["x-event-id"])

    assert ended.status == execution_pb2.STATUS_FAILED
    assert len(keys) == 1


STEPS = """
id: steps
trigger: {webhook: {auth: {type: none}}}
vars: {greeting: Hello}
steps:
  - {id: big, use: filter, with: {condition: =body.amount > 100}}
  - id: name
    use: transform
    when: =body.customer != 'anonymous'
    with: {body: {text: "=vars.greeting & ' ' & body.customer"}}
  - id: last
    use: transform
    with: {body: {text: =body.text, was: =steps.big.body.amount, of: =flow.id}}
"""


async def test_steps_pass_messages_on(tmp_path: Path) -> None:
    """Each step gets the message of the one before, and may look further back."""
    async with running(tmp_path, STEPS) as hookline:
        answer = await hookline.send("steps", b'{"amount": 200, "customer": "Ada"}')

        assert await hookline.result(answer) == {
            "text": "Hello Ada",
            "was": 200,
            "of": "steps",
        }


async def test_a_filter_ends_an_event(tmp_path: Path) -> None:
    """What it does not let pass is filtered: ended, and not failed."""
    async with running(tmp_path, STEPS) as hookline:
        answer = await hookline.send("steps", b'{"amount": 99, "customer": "Ada"}')
        ended = await hookline.ends.wait(answer.headers["x-event-id"])

    assert (ended.status, ended.step) == (execution_pb2.STATUS_FILTERED, "big")


async def test_a_step_whose_condition_is_false_is_passed_over(tmp_path: Path) -> None:
    """`when` skips one step, the message goes on as it is."""
    async with running(tmp_path, STEPS) as hookline:
        answer = await hookline.send(
            "steps", b'{"amount": 200, "customer": "anonymous"}'
        )
        result = await hookline.result(answer)

    assert result["was"] == 200
    assert result.get("text") is None


async def test_an_expression_that_cannot_be_evaluated_fails_its_event_alone(
    tmp_path: Path,
) -> None:
    """The next event of the flow runs."""
    flow = """
id: adding
trigger: {webhook: {auth: {type: none}}}
steps: [{id: add, use: transform, with: {body: =body.a + 1}}]
"""
    async with running(tmp_path, flow) as hookline:
        bad = await hookline.send("adding", b'{"a": "one"}')
        good = await hookline.send("adding", b'{"a": 1}')
        failed = await hookline.ends.wait(bad.headers["x-event-id"])

        assert failed.status == execution_pb2.STATUS_FAILED
        assert failed.step == "add"
        assert await hookline.result(good) == 2


async def test_a_failing_flow_does_not_delay_another(tmp_path: Path) -> None:
    """While one flow waits for its next attempt, another one's event is done."""
    other = """
id: other
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
    slow = calling("http://127.0.0.1:1/", 5).replace("1ms", "1h")
    async with running(tmp_path, slow, other) as hookline:
        stuck = await hookline.send("calling", b"{}")
        answer = await hookline.send("other", b"1")

        assert await hookline.result(answer) == 1
        assert stuck.headers["x-event-id"] not in hookline.ends.by_event


async def test_a_record_that_is_no_event_is_kept_and_harms_nobody(
    tmp_path: Path,
) -> None:
    """Somebody else's bytes in the topic: a dead letter, and the flow goes on."""
    async with running(tmp_path, STEPS) as hookline:
        events = hookline.hosted.topics.events
        await hookline.hosted.log.append(events, b"steps", b"\xff no protobuf")
        answer = await hookline.send("steps", b'{"amount": 200, "customer": "Ada"}')
        await hookline.result(answer)
        [letter] = await dead_letters(hookline)

    assert letter.unreadable == b"\xff no protobuf"


async def test_a_flow_whose_component_is_gone_fails_its_events_alone(
    tmp_path: Path,
) -> None:
    """After a restart without it: dead letters with the reason, the process goes on."""
    types = {**component_types(), "another": component_types()["transform"]}
    flow = STEPS.replace("use: transform", "use: another")
    async with running(tmp_path, flow, types=types, executor=False) as hookline:
        answer = await hookline.send("steps", b'{"amount": 200, "customer": "Ada"}')
    async with running(tmp_path) as hookline:
        ended = await hookline.ends.wait(answer.headers["x-event-id"])

    assert ended.status == execution_pb2.STATUS_FAILED
    assert "another" in ended.reason
