"""Flows, senders and events that misbehave, on both logs: they harm themselves alone.

Each test has a neighbour whose events run to their end meanwhile, and lets the flow that
misbehaves go on in order once that is possible.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from hookline.v1 import execution_pb2
from tests.caller import request_bytes
from tests.instance import JSON, Instance
from tests.instance_on_kafka import Opening
from tests.other_system import Other, another_system, calling
from tests.test_executions import dead_letters
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
HEAD = "id: {flow_id}\ntrigger: {{webhook: {{auth: {{type: none}}}}}}\nsteps:\n"
NEIGHBOURS = [f"neighbour-{number}" for number in range(12)]


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    async with another_system() as other:
        yield other


def computing(flow_id: str, expression: str) -> str:
    """A flow of one expression."""
    step = f'  - {{id: compute, use: transform, with: {{body: "={expression}"}}}}\n'
    return HEAD.format(flow_id=flow_id) + step


def neighbours() -> list[str]:
    """Flows in all partitions."""
    return [computing(flow_id, "body.n") for flow_id in NEIGHBOURS]


async def sent(hookline: Instance, flow_id: str, body: bytes = b'{"n": 1}') -> str:
    """Send an event that is accepted; gives its id."""
    answer = await hookline.send(flow_id, body, [JSON])
    assert answer.status == 200, answer
    return answer.headers["x-event-id"]


async def neighbours_run(hookline: Instance, rounds: int = 1) -> None:
    """Send events to each neighbour, and return when all have ended well."""
    for number in range(rounds):
        body = b'{"n": %d}' % number
        ids = [await sent(hookline, flow_id, body) for flow_id in NEIGHBOURS]
        for event_id in ids:
            ended = await hookline.ends.wait(event_id)
            assert ended.status == execution_pb2.STATUS_COMPLETED
            assert ended.result == b"%d" % number


async def letter_of(hookline: Instance, event_id: str) -> execution_pb2.DeadLetter:
    """The only dead letter of an event."""
    letters = await dead_letters(hookline)
    [letter] = [one for one in letters if one.event.id == event_id]
    return letter


POISON = {
    "wrong-type": (b'{"n": "one"}', "body.n + 1"),
    "deep": (b'{"n": ' + b"[" * 90 + b"]" * 90 + b"}", "$sum(body.n) + 1"),
    "surrogates": (rb'{"n": "\ud83d\ude00"}', "$number(body.n)"),
    "large": (b'{"n": "' + b"9" * 200_000 + b'"}', "$number(body.n)"),
    "eats-memory": (b'{"n": 1}', "$pad('x', 1000000000)"),
    "makes-items": (b'{"n": 1}', "$count([1..100000000])"),
    "spins": (b'{"n": 1}', "($f := function($x) {$f($x + 1)}; $f(0))"),
}


@pytest.mark.parametrize("poison", POISON)
async def test_a_poisonous_event_is_a_dead_letter_and_harms_nobody(
    open_instance: Opening, poison: str
) -> None:
    """Whole, with its step and why; expressions that spin or eat are ended."""
    body, expression = POISON[poison]
    flow_id = f"poisoned-{poison}"
    flow = computing(flow_id, f"body.n = 0 ? 'good' : {expression}")
    async with open_instance(flow, *neighbours()) as hookline:
        event_id = await sent(hookline, flow_id, body)
        after = await sent(hookline, flow_id, b'{"n": 0}')
        await neighbours_run(hookline)
        ended = await hookline.ends.wait(event_id)
        letter = await letter_of(hookline, event_id)
        good = await hookline.ends.wait(after)

    assert ended.status == execution_pb2.STATUS_FAILED
    assert (letter.step, letter.event.request.body) == ("compute", body)
    assert letter.reason == ended.reason
    assert (good.status, good.result) == (execution_pb2.STATUS_COMPLETED, b'"good"')


async def test_a_step_that_hangs_is_ended_in_time(
    open_instance: Opening, other: Other
) -> None:
    """At each attempt; then it is a dead letter, and the flow's next event runs."""
    other.hangs = lambda call: call.body == {"got": 1}
    flow = calling(other.url, "hanging", flow="hanging").replace("=body", "=body.n")
    flow = flow.replace("    retry:", "    timeout: 200ms\n    retry:")
    async with open_instance(flow, *neighbours()) as hookline:
        event_id = await sent(hookline, "hanging")
        after = await sent(hookline, "hanging", b'{"n": 2}')
        await neighbours_run(hookline)
        ended = await hookline.ends.wait(event_id)
        letter = await letter_of(hookline, event_id)
        good = await hookline.ends.wait(after)

    assert (ended.status, ended.attempts) == (execution_pb2.STATUS_FAILED, 3)
    assert "timeout of 0.2 s" in letter.reason
    assert good.status == execution_pb2.STATUS_COMPLETED


async def test_a_step_that_always_fails_is_a_dead_letter_after_its_attempts(
    open_instance: Opening, other: Other
) -> None:
    """Each event, in order, each under its own key; neighbours run."""
    other.statuses["failing"] = [503]
    flow = calling(other.url, "failing", flow="failing")
    async with open_instance(flow, *neighbours()) as hookline:
        ids = [await sent(hookline, "failing") for _ in range(5)]
        await neighbours_run(hookline)
        ends = [await hookline.ends.wait(one) for one in ids]
        letters = [await letter_of(hookline, one) for one in ids]

    assert {end.status for end in ends} == {execution_pb2.STATUS_FAILED}
    assert [letter.attempts for letter in letters] == [3] * 5
    assert [call.key for call in other.calls] == [
        f"{event_id}/failing" for event_id in ids for _ in range(3)
    ]


async def test_a_slow_flow_with_a_hundred_times_the_events_delays_nobody(
    open_instance: Opening, other: Other
) -> None:
    """Its first event is not over while all of its neighbours' are; then all in order."""
    let_go = asyncio.Event()
    other.over = let_go
    other.hangs = lambda _: not let_go.is_set()
    hot = calling(other.url, "hot", flow="hot").replace("=body", "=body.n")
    async with open_instance(hot, *neighbours()) as hookline:
        for number in range(300):
            await sent(hookline, "hot", b'{"n": %d}' % number)
        await neighbours_run(hookline, rounds=3)
        begun = len(other.calls)
        let_go.set()
        await until(lambda: len(other.calls) == 300, 60)

    assert begun == 1
    assert [call.body["got"] for call in other.calls] == list(range(300))


async def test_an_event_ends_on_the_version_that_it_began_with(
    open_instance: Opening, other: Other
) -> None:
    """The flow is changed while a step of it runs; the next event has the new one."""
    let_go = asyncio.Event()
    other.over = let_go
    other.hangs = lambda call: call.step == "one" and not let_go.is_set()
    before = calling(other.url, "one", "two", flow="changing")
    after = calling(other.url, "three", flow="changing")
    async with open_instance(before, *neighbours()) as hookline:
        first = await sent(hookline, "changing")
        await until(lambda: other.steps() == ["one"])
        second = await sent(hookline, "changing")
        answer = await hookline.apply(after)
        assert not answer.mistakes
        third = await sent(hookline, "changing")
        let_go.set()
        for event_id in (first, second, third):
            ended = await hookline.ends.wait(event_id)
            assert ended.status == execution_pb2.STATUS_COMPLETED

    assert [(call.key, call.step) for call in other.calls] == [
        (f"{first}/one", "one"),
        (f"{first}/two", "two"),
        (f"{second}/one", "one"),
        (f"{second}/two", "two"),
        (f"{third}/three", "three"),
    ]


async def test_callers_that_leave_harm_nobody(
    open_instance: Opening, capfd: pytest.CaptureFixture[str]
) -> None:
    """In mid-body: nothing is kept. While they wait: what is in the log runs, once."""
    flow = computing("left", "body.n")
    async with open_instance(flow, *neighbours()) as hookline:
        host, _, port = hookline.hosted.http.rpartition(":")
        leave = partial(_leave, host, int(port))
        whole = request_bytes("POST", "/hook/left", [JSON], b'{"n": 1}')
        await asyncio.gather(*(leave(whole[:-3]) for _ in range(40)))
        await asyncio.gather(*(leave(whole) for _ in range(40)))
        await neighbours_run(hookline)
        last = await sent(hookline, "left", b'{"n": 2}')
        await hookline.ends.wait(last)
        logged = await _logged(hookline, "left")
        ended = [event.id for event in hookline.ends.order if event.flow_id == "left"]

    assert ended == logged
    assert ended[-1] == last
    assert len(ended) <= 41
    assert "request.failed" not in "".join(capfd.readouterr())


async def _leave(host: str, port: int, request: bytes) -> None:
    """Send this much, and go."""
    _, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    await writer.drain()
    writer.transport.abort()


async def _logged(hookline: Instance, flow_id: str) -> list[str]:
    """The ids of a flow's events, in the order of the log."""
    from hookline.v1 import event_pb2

    topic = hookline.hosted.topics.events
    return [
        event_pb2.Event.FromString(record.value or b"").id
        for partition in range(topic.partitions)
        async for batch in hookline.hosted.log.read(topic, partition, 0, 1_000_000)
        for record in batch
        if record.key == flow_id.encode()
    ]
