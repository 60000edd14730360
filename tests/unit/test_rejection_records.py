"""What is kept of single refusals that no ordinary request brings about."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.errors import Malformed, Unavailable
from hookline.v1 import event_pb2, rejection_pb2
from services.router.rejections_found import Found, FoundRejections
from tests.routers import TOPICS, Router, routing
from tests.waiting import until_asked

FLOW = """
id: kept
trigger: {webhook: {auth: {type: none}, keep_rejected: true}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path, FLOW) as router:
        yield router


async def listed(router: Router, count: int) -> list[Found]:
    """The newest rejections, once there are so many."""
    found = FoundRejections(router.log, TOPICS.rejections)

    async def there() -> bool:
        return len(await found.newest("", event_pb2.REASON_UNSPECIFIED, 10)) >= count

    await until_asked(there)
    return await found.newest("", event_pb2.REASON_UNSPECIFIED, 10)


async def test_of_a_body_that_was_not_held_the_beginning_is_kept(
    router: Router,
) -> None:
    """With its size, and never as if it were the whole."""
    request = event_pb2.Request(
        flow_id="kept",
        body=b"x" * 2000,
        stored_body=event_pb2.StoredBody(size=5_000_000),
    )

    router.receiver.reject(request, Malformed("The body broke off."))
    [found] = await listed(router, 1)
    whole = await FoundRejections(router.log, TOPICS.rejections).find(
        found.rejection.id
    )

    assert whole is not None
    assert whole.rejection.request.body == b"x" * 1024
    assert whole.rejection.body_size == 5_000_000
    assert not whole.rejection.whole


async def test_a_cause_that_quotes_its_sender_is_one_line_of_text(
    router: Router,
) -> None:
    """It is shown on terminals."""
    request = event_pb2.Request(flow_id="kept")

    router.receiver.reject(request, Malformed("\x1b[31mred\r\n" + "x" * 1000))
    [found] = await listed(router, 1)

    assert found.rejection.cause.isprintable()
    assert len(found.rejection.cause) == 500


async def test_a_record_that_is_there_twice_is_shown_once(router: Router) -> None:
    """As a log may give it."""
    kept = rejection_pb2.Rejection(
        id="01a20d0b-8fac-753b-a459-6bbb82803389", flow_id="kept"
    )
    record = rejection_pb2.RejectionRecord(kept=kept).SerializeToString()
    for _ in range(2):
        await router.log.append(TOPICS.rejections, b"kept", record)
    router.receiver.reject(event_pb2.Request(flow_id="kept"), Unavailable("full"))

    found = await listed(router, 2)

    assert [one.rejection.cause for one in found] == ["full", ""]
