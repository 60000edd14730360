"""Through crashes: what is in the journal is not run again, what is not goes on.

A crash is a copy of the data directory, taken while a step hangs, on which another
instance starts: what a kill at that place would have left.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hookline.claims import Claim
from hookline.components import Effect, Resources, component_types
from hookline.components import Parameters as NoParameters
from hookline.event import Message
from hookline.log import Log, Record, Topic
from hookline.v1 import execution_pb2, execution_pb2_grpc
from tests.instance import Instance, running
from tests.other_system import Other, another_system, calling
from tests.test_executions import dead_letters
from tests.waiting import until, until_asked

# One partition for all flows; what hangs is let go at once when an instance stops.
ONE_PARTITION = {"HOOKLINE_LOG__PARTITIONS": "1", "HOOKLINE_EXECUTOR__DRAIN_S": "0"}


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    async with another_system() as other:
        yield other


@asynccontextmanager
async def crashed(directory: Path, **more: Any) -> AsyncIterator[Instance]:
    """Another instance on what a kill would leave of the one in a directory now."""
    copy = directory / "crashed"
    shutil.copytree(directory / "data", copy / "data")
    async with running(copy, environment=ONE_PARTITION, **more) as hookline:
        yield hookline


async def journal(hookline: Instance) -> list[execution_pb2.JournalEntry]:
    """All that the journal says."""
    topic = hookline.hosted.topics.executions
    records = await every_record(hookline.hosted.log, topic)
    return [execution_pb2.JournalEntry.FromString(one.value or b"") for one in records]


async def every_record(log: Log, topic: Topic) -> list[Record]:
    return [
        record
        for partition in range(topic.partitions)
        async for batch in log.read(topic, partition, 0, 1_000_000)
        for record in batch
    ]


async def has_checkpoint(hookline: Instance) -> bool:
    """Whether the journal has a part of a checkpoint."""
    return any(entry.HasField("checkpoint") for entry in await journal(hookline))


async def has_failed(hookline: Instance) -> bool:
    """Whether the last that the journal says of an execution is a failed attempt."""
    return (await last_progress(hookline)).HasField("failed")


async def last_progress(hookline: Instance) -> execution_pb2.ExecutionProgress:
    """How far the last execution has come that the journal speaks of."""
    entries = [entry for entry in await journal(hookline) if entry.HasField("progress")]
    return entries[-1].progress if entries else execution_pb2.ExecutionProgress()


async def is_held(hookline: Instance, event_id: str) -> bool:
    """Whether an event is shown as held."""
    return (await shown(hookline, event_id)).status == execution_pb2.STATUS_HELD


async def written(hookline: Instance, ends: int) -> None:
    """Return when so many ends are in the journal."""

    async def are_written() -> bool:
        return sum(e.HasField("ended") for e in await journal(hookline)) == ends

    await until_asked(are_written)


async def shown(hookline: Instance, event_id: str) -> execution_pb2.EventSummary:
    """An event as callers see it."""
    stub = execution_pb2_grpc.ExecutionServiceStub(hookline.channel)
    request = execution_pb2.GetEventRequest(event_id=event_id)
    return (await stub.GetEvent(request, metadata=hookline.metadata)).summary


async def test_a_step_that_is_done_does_not_run_again(
    tmp_path: Path, other: Other
) -> None:
    """Killed in the second: it alone runs again, with the same message and key."""
    other.hangs = lambda call: call.step == "second" and len(other.calls) == 2
    flow = calling(other.url, "first", "second")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", b'"begin"')
        await until(lambda: len(other.calls) == 2)
        async with crashed(tmp_path) as hookline:
            result = await hookline.result(answer)

    assert other.steps() == ["first", "second", "second"]
    assert other.calls[1] == other.calls[2]
    assert other.calls[2].body == {"got": {"number": 1}}
    assert result == {"number": 3}


async def test_an_event_goes_on_with_its_body_from_the_store(
    tmp_path: Path, other: Other
) -> None:
    """Nothing of a body that is not in line has to be in the journal."""
    other.hangs = lambda _: len(other.calls) == 2
    first = calling(other.url, "first").replace("{got: =body}", "=$count(body)")
    again = f'{{url: "{other.url}/again", raw: true}}'
    flow = f"{first}  - {{id: again, use: http.request, with: {again}}}\n"
    body = b"[" + b"1," * 200_000 + b"1]"
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", body)
        await until(lambda: len(other.calls) == 2)
        kept = await journal(before)
        async with crashed(tmp_path) as hookline:
            result = await hookline.result(answer)

    assert [len(entry.SerializeToString()) < 1000 for entry in kept] == [True] * 2
    assert other.steps() == ["first", "again", "again"]
    assert other.calls[0].body == 200_001
    assert other.calls[1] == other.calls[2]
    assert len(other.calls[2].body) == 200_001
    assert result == {"number": 3}


SEEN = """
  - {id: made, use: transform, with: {body: {at: =$random()}}}
  - {id: call, use: http.request, with: {url: "URL/call", body: =body.at}}
  - {id: between, use: filter, with: {condition: =status = 200}}
  - {id: tell, use: http.request, with: {url: "URL/tell", body: {
      made: =steps.made.body.at, called: =steps.call.status,
      is: =steps.between.body.number}}}
"""


async def test_what_steps_have_made_is_the_same_after_a_crash(
    tmp_path: Path, other: Other
) -> None:
    """Of pure steps, too: `steps.<id>` is what the step with effects was called with."""
    other.hangs = lambda _: len(other.calls) == 2
    flow = calling("x").split("steps:")[0] + "steps:" + SEEN.replace("URL", other.url)
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", b"{}")
        await until(lambda: len(other.calls) == 2)
        async with crashed(tmp_path) as hookline:
            await hookline.result(answer)

    made = other.calls[0].body
    assert other.steps() == ["call", "tell", "tell"]
    assert other.calls[1].body == {"made": made, "called": 200, "is": 1}
    assert other.calls[2] == other.calls[1]


async def test_what_has_ended_does_not_run_again_though_the_commit_stands_before_it(
    tmp_path: Path, other: Other
) -> None:
    """An earlier event of another flow hangs: the later ones are over all the same."""
    other.hangs = lambda call: (
        call.step == "stuck" and other.steps().count("stuck") == 1
    )
    flows = (
        calling(other.url, "stuck", flow="stuck"),
        calling(other.url, "quick", flow="quick"),
    )
    async with running(tmp_path, *flows, environment=ONE_PARTITION) as before:
        stuck = await before.send("stuck", b"{}")
        for _ in range(3):
            await before.result(await before.send("quick", b"{}"))
        await written(before, 3)
        async with crashed(tmp_path) as hookline:
            await hookline.result(stuck)
            later = await hookline.send("quick", b"{}")
            await hookline.result(later)

    assert other.steps().count("stuck") == 2
    assert other.steps().count("quick") == 4


async def test_attempts_are_counted_on_after_a_crash(
    tmp_path: Path, other: Other
) -> None:
    """Two have failed, the third was under way: it is made again, and is the last."""
    other.statuses["call"] = [503]
    other.hangs = lambda _: len(other.calls) == 3
    flow = calling(other.url, "call")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", b"{}")
        await until(lambda: len(other.calls) == 3)
        async with crashed(tmp_path) as hookline:
            ended = await hookline.ends.wait(answer.headers["x-event-id"])
            [letter] = await dead_letters(hookline)

    assert len(other.calls) == 4
    assert (ended.status, ended.attempts) == (execution_pb2.STATUS_FAILED, 3)
    assert (letter.attempts, letter.indeterminate) == (3, False)


async def test_an_attempt_is_not_made_before_it_is_due_after_a_crash(
    tmp_path: Path, other: Other
) -> None:
    """When it is due is in the journal, with why the one before has failed."""
    other.statuses["call"] = [503, 200]
    flow = calling(other.url, "call").replace("1ms", "1200ms")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", b"{}")
        await until_asked(partial(has_failed, before))
        failed = [one.progress.failed for one in await journal(before)][-1]
        async with crashed(tmp_path) as hookline:
            ended = await hookline.ends.wait(answer.headers["x-event-id"])

    assert (failed.step, failed.attempt) == ("call", 1)
    assert "503" in failed.error
    assert ended.attempts == 2
    assert ended.ended_at_us >= failed.next_at_us


@dataclass(slots=True)
class Post:
    """A step that is not repeatable."""

    Parameters: ClassVar = NoParameters
    effect: ClassVar = Effect.ONCE
    sent: ClassVar[list[str]] = []
    hang: ClassVar[bool] = True
    parameters: NoParameters
    resources: Resources

    async def run(self, message: Message) -> list[Message]:
        """Do it, and perhaps never hear of it."""
        self.sent.append(message.idempotency_key)
        if self.hang:
            await asyncio.Event().wait()
        return [message]


POSTING = """
id: posting
trigger: {webhook: {auth: {type: none}}}
steps: [{id: post, use: post}]
"""


async def test_a_step_that_is_not_repeatable_is_not_started_again(
    tmp_path: Path,
) -> None:
    """Found started, its end unknown: a dead letter that says so; the next event runs."""
    types = {**component_types(), "post": Post}
    Post.sent, Post.hang = [], True
    run = running(tmp_path, POSTING, environment=ONE_PARTITION, types=types)
    async with run as before:
        answer = await before.send("posting", b"{}")
        await until(lambda: len(Post.sent) == 1)
        Post.hang = False
        async with crashed(tmp_path, types=types) as hookline:
            ended = await hookline.ends.wait(answer.headers["x-event-id"])
            [letter] = await dead_letters(hookline)
            await hookline.result(await hookline.send("posting", b"{}"))

    assert ended.status == execution_pb2.STATUS_FAILED
    assert (letter.step, letter.indeterminate) == ("post", True)
    assert len(Post.sent) == 2
    assert Post.sent[0] != Post.sent[1]


@dataclass(slots=True)
class Split:
    """One message to three."""

    Parameters: ClassVar = NoParameters
    effect: ClassVar = Effect.PURE
    parameters: NoParameters
    resources: Resources

    async def run(self, message: Message) -> list[Message]:
        """One for each."""
        return [message.derive(body={"n": number}) for number in range(3)]


@pytest.mark.parametrize("effect", [Effect.PURE, Effect.REPEATABLE])
async def test_of_many_messages_those_that_are_done_do_not_run_again(
    tmp_path: Path, other: Other, effect: Effect
) -> None:
    """Killed at the second of three: it and the third go on, each under its own key."""
    kind: Any = type("Kind", (Split,), {"effect": effect})
    types = {**component_types(), "split": kind}
    other.hangs = lambda _: len(other.calls) == 3
    flow = calling(other.url, "one", "two").replace(
        "steps:", "steps:\n  - {id: split, use: split}"
    )
    run = running(tmp_path, flow, environment=ONE_PARTITION, types=types)
    async with run as before:
        answer = await before.send("calling", b"{}")
        event_id = answer.headers["x-event-id"]
        await until(lambda: len(other.calls) == 3)
        async with crashed(tmp_path, types=types) as hookline:
            result = await hookline.result(answer)

    assert [call.key for call in other.calls] == [
        f"{event_id}/{step}/{item}"
        for item, step in (
            *((1, "one"), (1, "two"), (2, "one"), (2, "one")),
            *((2, "two"), (3, "one"), (3, "two")),
        )
    ]
    assert [call.body["got"] for call in other.calls if call.step == "one"] == [
        {"n": 0},
        {"n": 1},
        {"n": 1},
        {"n": 2},
    ]
    assert result == [{"number": 2}, {"number": 5}, {"number": 7}]


async def test_what_is_held_stays_held(tmp_path: Path, other: Other) -> None:
    """Visible, with the reason; later events of its flow wait; through a restart."""
    other.statuses["call"] = [400]
    flow = calling(other.url, "call", more="on_exhausted: hold")
    async with running(tmp_path, flow, environment=ONE_PARTITION) as before:
        answer = await before.send("calling", b"{}")
        event_id = answer.headers["x-event-id"]
        await until_asked(partial(is_held, before, event_id))
        held = await shown(before, event_id)
        later = await before.send("calling", b"{}")
    quick = calling(other.url, "quick", flow="quick")
    async with running(tmp_path, quick, environment=ONE_PARTITION) as hookline:
        await hookline.result(await hookline.send("quick", b"{}"))
        still = await shown(hookline, event_id)
        waiting = await shown(hookline, later.headers["x-event-id"])
        letters = await dead_letters(hookline)

    assert (held.ended.step, held.ended.attempts) == ("call", 1)
    assert "400" in held.ended.reason
    assert still == held
    assert waiting.status == execution_pb2.STATUS_PENDING
    assert other.steps() == ["call", "quick"]
    assert not letters


async def test_what_an_owner_of_before_writes_is_ignored(
    tmp_path: Path, other: Other
) -> None:
    """Its end of an event stands behind the new claim: the event runs, and is shown so."""
    flow = calling(other.url, "call")
    quiet = running(tmp_path, flow, environment=ONE_PARTITION, executor=False)
    async with quiet as before:
        answer = await before.send("calling", b"{}")
        event_id = answer.headers["x-event-id"]
        await write(before, Claim(7, 1), claim=execution_pb2.Claim())
        await write(before, Claim(8, 2), claim=execution_pb2.Claim())
        ended = execution_pb2.ExecutionEnded(status=execution_pb2.STATUS_FILTERED)
        await write(before, Claim(7, 1), event_id=event_id, ended=ended)
        await write(before, Claim(8, 3), event_id=event_id, ended=ended)
        pending = await shown(before, event_id)
    async with running(tmp_path, environment=ONE_PARTITION) as hookline:
        await hookline.result(answer)
        await write(hookline, Claim(8, 2), event_id=event_id, ended=ended)
        completed = await shown(hookline, event_id)
        claims = [e.epoch for e in await journal(hookline) if e.HasField("claim")]

    assert pending.status == execution_pb2.STATUS_PENDING
    assert completed.status == execution_pb2.STATUS_COMPLETED
    assert other.steps() == ["call"]
    assert claims == [7, 8, 9]


async def write(hookline: Instance, under: Claim, **entry: Any) -> None:
    """Write to the journal as the owner of a claim."""
    value = execution_pb2.JournalEntry(epoch=under.epoch, owner=under.owner, **entry)
    topic = hookline.hosted.topics.executions
    await hookline.hosted.log.append(topic, b"calling", value.SerializeToString())


@pytest.mark.parametrize("records", [1, 7, 1000])
async def test_a_restore_needs_nothing_that_is_older_than_its_checkpoint(
    tmp_path: Path, other: Other, records: int
) -> None:
    """However often checkpoints are written: what is done stays done, the rest goes on."""
    other.hangs = lambda call: call.step == "second" and call.key.endswith("second")
    flows = (
        calling(other.url, "first", "second", flow="stuck"),
        calling(other.url, "quick", flow="quick"),
    )
    environment: Mapping[str, str] = {
        **ONE_PARTITION,
        "HOOKLINE_EXECUTOR__CHECKPOINT_RECORDS": str(records),
    }
    async with running(tmp_path, *flows, environment=environment) as before:
        quick = [await before.send("quick", b"{}") for _ in range(10)]
        for one in quick:
            await before.result(one)
        stuck = await before.send("stuck", b"{}")
        await until(lambda: "second" in other.steps())
        for _ in range(10):
            await before.result(await before.send("quick", b"{}"))
        await written(before, 20)
        if records < 1000:
            await until_asked(partial(has_checkpoint, before))
        other.hangs = lambda _: False
        async with crashed(tmp_path) as hookline:
            await hookline.result(stuck)

    assert other.steps().count("first") == 1
    assert other.steps().count("second") == 2
    assert other.steps().count("quick") == 20


async def test_a_pure_flow_costs_one_record_an_event(
    tmp_path: Path, other: Other
) -> None:
    """And one that calls in its last step no more; one call before another is one more."""
    pure = """
id: pure
trigger: {webhook: {auth: {type: none}}}
steps:
  - {id: a, use: transform, with: {body: =body}}
  - {id: b, use: transform, with: {body: =body}}
"""
    flows = (
        pure,
        calling(other.url, "last", flow="one"),
        calling(other.url, "first", "last", flow="two"),
    )
    async with running(tmp_path, *flows, environment=ONE_PARTITION) as hookline:
        for flow_id in ("pure", "one", "two"):
            await hookline.result(await hookline.send(flow_id, b"{}"))
        await written(hookline, 3)
        costs = [entry.flow_id for entry in await journal(hookline) if entry.flow_id]

    assert costs == ["pure", "one", "two", "two"]


async def test_a_large_result_is_no_matter_in_the_last_step_and_is_said_before_it(
    tmp_path: Path,
) -> None:
    """The journal holds at most 256 KiB between steps."""

    class Large(Split):
        effect: ClassVar = Effect.REPEATABLE

        async def run(self, message: Message) -> list[Message]:
            return [message.derive(body="x" * 300_000)]

    types: Any = {**component_types(), "large": Large}
    flow = "id: {id}\ntrigger: {{webhook: {{auth: {{type: none}}}}}}\nsteps:\n{steps}"
    large = "  - {id: large, use: large}\n"
    after = "  - {id: after, use: transform, with: {body: 1}}\n"
    flows = (
        flow.format(id="last", steps=large),
        flow.format(id="not", steps=large + after),
    )
    async with running(tmp_path, *flows, types=types) as hookline:
        last = await hookline.send("last", b"{}")
        good = await hookline.ends.wait(last.headers["x-event-id"])
        answer = await hookline.send("not", b"{}")
        bad = await hookline.ends.wait(answer.headers["x-event-id"])

    assert good.status == execution_pb2.STATUS_COMPLETED
    assert (bad.status, bad.step, bad.attempts) == (
        execution_pb2.STATUS_FAILED,
        "large",
        1,
    )
    assert "300,0" in bad.reason
