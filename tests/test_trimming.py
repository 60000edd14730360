"""Trimming beside a running executor, on each of the logs and with each body store."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import grpc
import pytest

from hookline.body_store import BodyStore, open_body_store
from hookline.event import new_event_id
from hookline.log import Bounds, Commit, Log, Topic, partition_of
from hookline.log.sqlite import open_log
from hookline.metrics import Metrics
from hookline.topics import Topics
from hookline.v1 import execution_pb2
from services.executor.restore import Bookmark
from services.executor.retention import BODY_MARGIN_S, DAY_S, Retention
from services.executor.trimming import Trim, Trims
from tests.clocks import Clock
from tests.instance import Instance, running
from tests.instance_on_kafka import Opening
from tests.other_system import Other, another_system, calling
from tests.stores import Place
from tests.test_crashes import shown
from tests.test_executions import dead_letters
from tests.waiting import until_asked

PARTITIONS = 4
ONE_DONE = Commit(1, Bookmark(1, 1, 1).text)
AT_ONCE = {
    "HOOKLINE_LOG__PARTITIONS": f"{PARTITIONS}",
    "HOOKLINE_RETENTION__EVENTS_S": "0.05",
    "HOOKLINE_RETENTION__HISTORY_S": "0.05",
    "HOOKLINE_RETENTION__EVERY_S": "0.05",
    "HOOKLINE_EXECUTOR__DRAIN_S": "0",
    "HOOKLINE_EXECUTOR__CHECKPOINT_INTERVAL_S": "0.1",
}
HOME = partition_of(b"stuck", PARTITIONS)
# A flow that has its events in the same partition.
QUICK = next(
    name
    for name in (f"quick-{number}" for number in range(100))
    if partition_of(name.encode(), PARTITIONS) == HOME
)


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    async with another_system() as other:
        yield other


async def bounds(hookline: Instance, topic: Topic) -> Bounds:
    return await hookline.hosted.log.bounds(topic, HOME)


async def wait_trimmed(hookline: Instance, topic: Topic, start: int) -> None:
    """Return when a topic begins there."""

    async def is_trimmed() -> bool:
        return (await bounds(hookline, topic)).start == start

    await until_asked(is_trimmed)


async def run_quick(hookline: Instance, count: int) -> None:
    for _ in range(count):
        await hookline.result(await hookline.send(QUICK, b"{}"))


async def test_what_is_over_goes_and_what_is_not_goes_on_after_a_restart(
    open_instance: Opening, other: Other
) -> None:
    """Nothing runs again, nothing is missing: twice started on what the trim has left."""
    other.hangs = lambda call: (
        call.step == "stuck" and other.steps().count("stuck") == 1
    )
    flows = (
        calling(other.url, "stuck", flow="stuck"),
        calling(other.url, "quick", flow=QUICK),
    )
    async with open_instance(*flows, environment=AT_ONCE) as hookline:
        events, journal = (
            hookline.hosted.topics.events,
            hookline.hosted.topics.executions,
        )
        await run_quick(hookline, 3)
        first = (await bounds(hookline, events)).end
        stuck = await hookline.send("stuck", b"{}")
        await run_quick(hookline, 2)
        await wait_trimmed(hookline, events, first)
        pending = await shown(hookline, stuck.headers["x-event-id"])
    async with open_instance(*flows, environment=AT_ONCE) as hookline:
        await hookline.result(stuck)
        await run_quick(hookline, 1)
        await wait_trimmed(hookline, events, (await bounds(hookline, events)).end)
        await until_asked(lambda: has_begun(hookline, journal))
    async with open_instance(*flows, environment=AT_ONCE) as hookline:
        await run_quick(hookline, 1)

    assert pending.status == execution_pb2.STATUS_PENDING
    assert other.steps().count("quick") == 3 + 2 + 1 + 1
    assert other.steps().count("stuck") == 2


async def has_begun(hookline: Instance, topic: Topic) -> bool:
    """Whether something of a topic is gone."""
    return (await bounds(hookline, topic)).start > 0


async def test_of_an_event_that_was_trimmed_that_is_said(
    tmp_path: Path, other: Other
) -> None:
    """One that never was is told from it, as far as its id allows."""
    flow = calling(other.url, "quick", flow=QUICK)
    async with running(tmp_path, flow, environment=AT_ONCE) as hookline:
        answer = await hookline.send(QUICK, b"{}")
        await hookline.result(answer)
        await wait_trimmed(hookline, hookline.hosted.topics.events, 1)
        with pytest.raises(grpc.aio.AioRpcError) as trimmed:
            await hookline.event(answer)
        with pytest.raises(grpc.aio.AioRpcError) as none:
            await shown(hookline, "no id")

    assert trimmed.value.code() == none.value.code() == grpc.StatusCode.NOT_FOUND
    assert "HOOKLINE_RETENTION__EVENTS_S" in str(trimmed.value.details())
    assert "There is no event" in str(none.value.details())


def trim_at(
    log: Log, topics: Topics, kept: Commit, days: float, bodies: BodyStore | None
) -> Trim:
    """The trimming of the first partition, as it is so many days from now."""
    clock = Clock(time.time() + days * DAY_S)
    trims = Trims(log, topics, Retention(), Metrics(), bodies=bodies, clock=clock)
    return Trim(trims, 0, lambda: kept, lambda: True)


FAILING = """\
id: failing
trigger: {webhook: {max_body: 20MB, auth: {type: none}}}
steps: [{id: fail, use: transform, with: {body: "=$error('no')"}}]
"""
BINARY = ("Content-Type", "application/octet-stream")
LARGE = bytes(range(256)) * 2000


async def test_a_dead_letter_keeps_its_body_for_as_long_as_it_is_kept(
    tmp_path: Path, place: Place
) -> None:
    """Its event's goes with the event, weeks before."""
    environment = {
        "HOOKLINE_BODIES__STORE": place.url,
        "HOOKLINE_LOG__PARTITIONS": "1",
    }
    store = open_body_store(place.url)
    async with running(tmp_path, FAILING, environment=environment) as hookline:
        await hookline.send("failing", LARGE, (BINARY,))
        await hookline.ends.wait_count(1)
        await until_asked(lambda: has_letter(hookline))
        log, topics = hookline.hosted.log, hookline.hosted.topics
        [letter] = await dead_letters(hookline)
        ends = [(await log.bounds(one, 0)).end for one in topics.all[:2]]
        kept = Commit(ends[0], Bookmark(ends[1], 1, 1).text)
        left = [len(await place.left())]
        for days in (6.0, 9.0, 29.0, 32.0):
            await trim_at(log, topics, kept, days, store).step()
            left.append(len(await place.left()))
            if days == 29.0:
                stored = letter.event.request.stored_body
                body = b"".join([piece async for piece in store.read(stored)])
        letters = await dead_letters(hookline)

    assert letter.event.request.stored_body.name.startswith("letters-0/")
    assert body == LARGE
    assert left == [2, 2, 1, 1, 0]
    assert letters == []


async def has_letter(hookline: Instance) -> bool:
    return bool(await dead_letters(hookline))


async def test_bodies_of_events_that_are_kept_and_of_uploads_stay(
    tmp_path: Path, place: Place
) -> None:
    """What is left over of a crash goes when it is older than any of them can be."""
    topics = Topics.with_partitions(1)
    store = open_body_store(place.url)
    now_ms = time.time_ns() // 1_000_000
    margin_ms = int(BODY_MARGIN_S * 1000)
    for at_ms in (now_ms - margin_ms - 60_000, now_ms - margin_ms + 60_000, now_ms):
        await store.put(f"0/{UUID(int=(at_ms << 80) | (7 << 76) | (2 << 62))}", b"body")
    async with open_log(tmp_path / "log", topics.all) as log:
        await log.append(topics.events, b"flow", b"")
        await trim_at(log, topics, Commit(0), 100.0, store).step()
        unfinished = len(await place.left())
        await trim_at(log, topics, ONE_DONE, 7.9, store).step()
        just_over = len(await place.left())
        await trim_at(log, topics, ONE_DONE, 8.1, store).step()

    # One is older than the oldest event by more than the margin; then the margin counts
    # from the retention on.
    assert unfinished == 2
    assert just_over == 1
    assert await place.left() == []


async def test_an_event_that_is_long_past_its_time_is_told_once_an_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its flow, and for how long it has held up everything behind it."""
    topics = Topics.with_partitions(1)
    clock, metrics = Clock(), Metrics()
    async with open_log(tmp_path, topics.all) as log:
        for key in (b"done", b"held-up", b"done"):
            await log.append(topics.events, key, b"")
        trims = Trims(log, topics, Retention(), metrics, clock=clock)
        kept = Commit(3, Bookmark(1, 1, 1, oldest=1).text)
        trim = Trim(trims, 0, lambda: kept, lambda: True)
        said = []
        for days in (6.9, 7.5, 7.5 + 0.5 / 24, 7.5 + 2.0 / 24):
            clock.seconds = time.time() + days * DAY_S
            await trim.step()
            said.append(capsys.readouterr().out)
        start = (await log.bounds(topics.events, 0)).start
        held_s = trims.held_s_by_partition[0]
        kept = Commit(3)
        await trim.step()

    assert start == 1
    assert [line.count("trim.held") for line in said] == [0, 1, 0, 1]
    assert "held-up" in said[1]
    assert held_s == pytest.approx(0.5 * DAY_S + 7200, abs=60)
    assert trims.held_s_by_partition[0] == 0


async def test_an_id_of_the_future_was_not_trimmed(tmp_path: Path) -> None:
    """It is younger than what is there."""
    flow = calling("http://127.0.0.1:1", "quick", flow=QUICK)
    async with running(tmp_path, flow) as hookline:
        with pytest.raises(grpc.aio.AioRpcError, match="There is no event"):
            await shown(hookline, new_event_id())
