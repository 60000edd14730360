"""Batches of events: all of them are taken, or none."""

import asyncio
import json
from pathlib import Path

from hookline.errors import Unavailable
from hookline.v1 import event_pb2
from tests.routers import (
    FLOWS,
    TOPICS,
    Router,
    assert_accepted,
    assert_unavailable,
    request,
    routing,
    until,
)

EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": 1}


def batch(count: int, head_bytes: int = 0) -> event_pb2.Request:
    made = request(
        "open", json.dumps([{**EVENT, "id": str(n)} for n in range(count)]).encode()
    )
    made.headers[0].value = b"application/cloudevents-batch+json"
    made.headers.add(name=b"X-Long", value=b"x" * head_bytes)
    return made


async def count_of(router: Router) -> int:
    """How many events are in the log."""
    partitions = range(TOPICS.events.partitions)
    bounds = [await router.log.bounds(TOPICS.events, one) for one in partitions]
    return sum(one.end - one.start for one in bounds)


async def test_a_batch_without_room_for_all_leaves_nothing(tmp_path: Path) -> None:
    """However often it is sent; one that has room is taken whole."""
    async with routing(tmp_path, *FLOWS, most_pending_bytes=100_000) as router:
        for _ in range(3):
            assert_unavailable(await router.receiver.receive(batch(500)))
        assert await count_of(router) == 0

        assert_accepted([await router.receiver.receive(batch(10))])
        assert await count_of(router) == 10


async def test_a_batch_is_answered_when_all_of_it_has_ended(tmp_path: Path) -> None:
    """Who is told to send it again does so when nothing of it is under way."""
    async with routing(tmp_path, *FLOWS) as router, asyncio.TaskGroup() as tasks:
        router.log.hold("open")
        answer = tasks.create_task(router.receiver.receive(batch(3)))
        await until(lambda: len(router.log.appended) == 3)
        router.log.fail(1, Unavailable("One is lost."))
        assert await count_of(router) == 0
        assert not answer.done()

        router.log.release()
        outcome = await answer
        assert await count_of(router) == 2

    assert outcome.rejected.detail == "One is lost."


async def test_a_large_head_is_not_multiplied(tmp_path: Path) -> None:
    """Each event has it, which makes a few bytes a great many: so many and no more."""
    async with routing(tmp_path, *FLOWS) as router:
        refused = await router.receiver.receive(batch(1000, 14_000))
        assert not router.log.appended
        assert_accepted([await router.receiver.receive(batch(1000, 1_000))])
        assert_accepted([await router.receiver.receive(batch(200, 14_000))])

    assert refused.rejected.reason == event_pb2.REASON_TOO_LARGE
    assert "1000 events" in refused.rejected.detail
