"""Bodies with content codings: read in a thread, while everybody else is answered."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest

from hookline.bodies import open_trigger
from hookline.bodies_thread import MOST_BEGUN, THREADS, in_thread
from hookline.errors import Malformed
from hookline.v1 import event_pb2
from tests.routers import (
    FLOWS,
    Router,
    assert_accepted,
    edge,
    request,
    routing,
    until,
)

COMPUTED = """
id: computed
trigger: {webhook: {auth: {type: none}, response: {body: "=body"}}}
steps: [{id: keep, use: transform, with: {body: "=1"}}]
"""


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path, *FLOWS, COMPUTED) as router:
        yield router


def coded(flow_id: str = "open", body: bytes = b"[1]") -> event_pb2.Request:
    made = request(flow_id, gzip.compress(body))
    made.headers.add(name=b"Content-Encoding", value=b"gzip")
    return made


@asynccontextmanager
async def busy(count: int = THREADS) -> AsyncIterator[Event]:
    """All threads that read bodies are at work, until the event is set."""
    free = Event()
    working = [in_thread(free.wait) for _ in range(count)]
    try:
        yield free
    finally:
        free.set()
        await asyncio.gather(*working)


@pytest.mark.parametrize("flow_id", ["open", "computed"])
async def test_others_are_answered_while_a_coded_body_is_read(
    router: Router, flow_id: str
) -> None:
    """On one stream, and where the router is in the edge's process."""
    async with (
        router.serving() as address,
        edge(address) as client,
        busy() as free,
        asyncio.TaskGroup() as tasks,
    ):
        await until(lambda: client.ready)
        slow = [
            tasks.create_task(client.receive(coded(flow_id))),
            tasks.create_task(router.receiver.receive(coded(flow_id))),
        ]
        for plain in (client.receive, router.receiver.receive):
            assert_accepted([await plain(request(flow_id))])
        assert not any(one.done() for one in slow)
        assert len(router.log.appended) == 2

        free.set()
        assert_accepted([await one for one in slow])

    assert len(router.log.appended) == 4
    if flow_id == "computed":
        assert [one.result().accepted.reply.body for one in slow] == [b"[1]"] * 2


async def test_what_is_wrong_with_a_coded_body_is_told(router: Router) -> None:
    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        for receive in (client.receive, router.receiver.receive):
            wrong = [await receive(coded(body=body)) for body in (b"{", b"0" * 500_000)]
            assert [one.rejected.reason for one in wrong] == [
                event_pb2.REASON_MALFORMED,
                event_pb2.REASON_TOO_LARGE,
            ]

    assert not router.log.appended


async def test_so_many_wait_for_a_thread_and_no_more(router: Router) -> None:
    """The others are told at once: an answer after the deadline helps nobody."""
    async with busy(MOST_BEGUN):
        refused = await router.receiver.receive(coded())
        assert_accepted([await router.receiver.receive(request())])

    assert refused.rejected.reason == event_pb2.REASON_UNAVAILABLE
    assert_accepted([await router.receiver.receive(coded())])


async def test_a_coded_event_is_opened_in_a_thread() -> None:
    """However few bytes it has; one without a coding is opened at once."""
    async with busy() as free, asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(open_trigger(coded(), None))
        plain, _ = await open_trigger(request(), None)
        assert plain.body == 1
        await asyncio.to_thread(int)  # the other one has had its turn
        assert not opening.done()

        free.set()
        trigger, _ = await opening

    assert trigger.body == [1]
    with pytest.raises(Malformed):
        await open_trigger(coded(body=b"{"), None)
