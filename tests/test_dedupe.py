"""What the router does not remember the executor drops: one execution a key."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from hookline.event_ids import keyed_event_id
from hookline.log.sqlite import open_log
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from tests.instance import JSON, Instance, running
from tests.waiting import until, until_asked

FLOW: Final = """
id: open
trigger: {{webhook: {{auth: {{type: none}}, {more}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
KEYED: Final = ("Idempotency-Key", "order-1")
BATCH_TYPE: Final = ("Content-Type", "application/cloudevents-batch+json")
DUPLICATE: Final = execution_pb2.STATUS_DUPLICATE
COMPLETED: Final = execution_pb2.STATUS_COMPLETED
TOPICS: Final = Topics.with_partitions(8)
MICROSECONDS: Final = 1_000_000


def flow(more: str = "") -> str:
    return FLOW.format(more=more)


@asynccontextmanager
async def restarted(directory: Path, **more: str) -> AsyncIterator[Instance]:
    """An instance whose router remembers nothing, on a log that has all."""
    environment = {f"HOOKLINE_EXECUTOR__{name}": value for name, value in more.items()}
    async with running(directory, environment=environment) as instance:
        yield instance


def event(
    key: str, at_s: float, body: bytes = b"1", window_s: int = 60
) -> event_pb2.Event:
    """An event as a router appends it, at a time of the test's."""
    request = event_pb2.Request(flow_id="open", method="POST", body=body)
    request.headers.add(name=b"Content-Type", value=b"application/json")
    return event_pb2.Event(
        id=keyed_event_id("open", key),
        flow_id="open",
        flow_version=1,
        accepted_at_us=1_700_000_000 * MICROSECONDS + int(at_s * MICROSECONDS),
        request=request,
        dedupe_key=key,
        body_digest=body.ljust(8),
        dedupe_window_s=window_s,
    )


async def append(directory: Path, *events: event_pb2.Event) -> None:
    """Put events into the log of an instance that is not running."""
    async with open_log(directory / "data", TOPICS.all) as log:
        for one in events:
            await log.append(TOPICS.events, b"open", one.SerializeToString())


async def ends(instance: Instance) -> list[execution_pb2.ExecutionEnded]:
    """All ends that the journal has, in its order."""
    found = []
    topic = instance.hosted.topics.executions
    for partition in range(topic.partitions):
        start, end = await instance.hosted.log.bounds(topic, partition)
        async for batch in instance.hosted.log.read(topic, partition, start, end):
            for record in batch:
                entry = execution_pb2.JournalEntry.FromString(record.value or b"")
                if entry.HasField("ended"):
                    found.append(entry.ended)
    return found


async def kinds_of(instance: Instance, count: int) -> list[int]:
    """How so many events have ended, when that is in the journal, in its order."""
    found: list[int] = []

    async def ended() -> bool:
        found[:] = [one.status for one in await ends(instance)]
        return len(found) >= count

    await until_asked(ended)
    return found


async def test_a_repeat_after_a_restart_runs_nothing(tmp_path: Path) -> None:
    """The same answer and the same id; it ends as a duplicate that names the first."""
    async with running(tmp_path, flow()) as instance:
        first = await instance.send("open", b"1", (JSON, KEYED))
        assert await instance.result(first) == 1
    async with restarted(tmp_path) as instance:
        again = await instance.send("open", b"1", (JSON, KEYED))
        other = await instance.send("open", b'"new"', (JSON,))
        assert await instance.result(other) == "new"
        kinds = await kinds_of(instance, 3)
        [repeat] = instance.ends.duplicates
        shown = await instance.event(again)

    assert again.status == 200
    assert again.headers["x-event-id"] == first.headers["x-event-id"]
    assert sorted(kinds) == [COMPLETED, COMPLETED, DUPLICATE]
    assert repeat.reason.startswith(f"repeats {first.headers['x-event-id']} at offset ")
    assert repeat.attempts == 0
    assert shown.request.body == b"1"


async def test_another_body_after_a_restart_is_a_conflict_in_the_journal(
    tmp_path: Path,
) -> None:
    """The sender could not be told any more; the flow's owner is."""
    async with running(tmp_path, flow()) as instance:
        await instance.result(await instance.send("open", b"1", (JSON, KEYED)))
    async with restarted(tmp_path) as instance:
        await instance.send("open", b"2", (JSON, KEYED))
        await until(lambda: bool(instance.ends.duplicates))
        [repeat] = instance.ends.duplicates

    assert repeat.reason.startswith("conflict: ")


async def test_the_window_is_counted_from_the_first(tmp_path: Path) -> None:
    """By the times of acceptance in the log: the end of it is in, what is later runs."""
    async with running(tmp_path, flow()):
        pass
    await append(
        tmp_path,
        event("a", 0),
        event("a", 59),
        event("a", 60),
        event("a", 61),
        event("a", 121),
        event("b", 121, window_s=1),
        event("b", 123, window_s=600),
    )
    async with restarted(tmp_path) as instance:
        kinds = await kinds_of(instance, 7)

    assert kinds == [
        *(COMPLETED, DUPLICATE, DUPLICATE),
        *(COMPLETED, DUPLICATE),
        *(COMPLETED, COMPLETED),
    ]


async def test_an_event_that_is_in_the_log_twice_runs_once(tmp_path: Path) -> None:
    """A producer may write a record again whose answer it has lost."""
    async with running(tmp_path, flow(), executor=False) as instance:
        answer = await instance.send("open", b"1")
        await instance.send("open", b"2")
        written = await instance.event(answer)
    await append(tmp_path, written, written)
    async with restarted(tmp_path) as instance:
        kinds = await kinds_of(instance, 4)
    async with restarted(tmp_path) as instance:
        pass
    await append(tmp_path, written)
    async with restarted(tmp_path) as instance:
        await until(lambda: len(instance.ends.order) == 1)
        [repeat] = instance.ends.duplicates

    assert kinds == [COMPLETED, COMPLETED, DUPLICATE, DUPLICATE]
    assert "its first record has run" in repeat.reason


async def test_a_batch_that_is_sent_again_after_a_restart(tmp_path: Path) -> None:
    """Its elements are told by source and id, each by itself."""
    shape = {"specversion": "1.0", "source": "/shop", "type": "t"}

    def batch(*numbers: str) -> bytes:
        return json.dumps(
            [{**shape, "id": one, "data": one} for one in numbers]
        ).encode()

    async with running(tmp_path, flow()) as instance:
        answer = await instance.send("open", batch("1", "2"), (BATCH_TYPE,))
        for event_id in answer.json["eventIds"]:
            await instance.ends.wait(event_id)
    async with restarted(tmp_path) as instance:
        again = await instance.send("open", batch("2", "3", "1"), (BATCH_TYPE,))
        kinds = await kinds_of(instance, 5)

    first, second = answer.json["eventIds"]
    assert again.json["eventIds"][::2] == [second, first]
    assert kinds == [COMPLETED, COMPLETED, DUPLICATE, COMPLETED, DUPLICATE]


async def test_keys_survive_many_restarts_and_snapshots(tmp_path: Path) -> None:
    """Whatever of them is in a snapshot and whatever is read again from the events."""
    async with running(tmp_path, flow()):
        pass
    count = 2_500
    async with open_log(tmp_path / "data", TOPICS.all) as log:
        await asyncio.gather(
            *(
                log.append(TOPICS.events, b"open", one.SerializeToString())
                for one in (event(f"k{n}", n / 1000) for n in range(count))
            )
        )
    async with restarted(tmp_path) as instance:
        await until(lambda: len(instance.ends.order) == count)
        await until_asked(lambda: has_snapshot(instance))
    for round_number in range(3):
        again = [event(f"k{n}", 5) for n in (0, count // 2, count - 1)]
        fresh = event(f"fresh{round_number}", 6)
        earlier = [event(f"fresh{n}", 7) for n in range(round_number)]
        await append(tmp_path, *again, fresh, *earlier)
        async with restarted(tmp_path) as instance:
            await until(lambda: len(instance.ends.order) == 4 + round_number)  # noqa: B023 - it is waited for here
            repeated = len(instance.ends.duplicates)
        assert repeated == 3 + round_number


async def has_snapshot(instance: Instance) -> bool:
    """Whether a snapshot of keys is in the journal."""
    log, topic = instance.hosted.log, instance.hosted.topics.executions
    for partition in range(topic.partitions):
        start, end = await log.bounds(topic, partition)
        async for batch in log.read(topic, partition, start, end):
            for record in batch:
                entry = execution_pb2.JournalEntry.FromString(record.value or b"")
                if entry.checkpoint.HasField("keys"):
                    return True
    return False


@pytest.mark.parametrize("keys", ["2", "100"])
async def test_the_number_of_keys_is_bounded(tmp_path: Path, keys: str) -> None:
    """The newest are known; what was forgotten too early is counted."""
    async with running(tmp_path, flow()):
        pass
    await append(tmp_path, *(event(f"k{n}", n) for n in range(10)), event("k9", 11))
    await append(tmp_path, event("k0", 12))
    async with restarted(tmp_path, DEDUPE_KEYS=keys) as instance:
        await until(lambda: len(instance.ends.order) == 12)
        repeated = len(instance.ends.duplicates)

    assert repeated == (1 if keys == "2" else 2)
