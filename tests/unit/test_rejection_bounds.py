"""What is refused is kept without holding anybody up, and without end of nothing."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookline.v1 import event_pb2, rejection_pb2
from services.router.rejections import MOST_A_SECOND, MOST_PENDING_BYTES
from tests.routers import TOPICS, Router, routing
from tests.waiting import until, until_asked

FLOW = """
id: flow-{number}
trigger: {{webhook: {{auth: {{type: none}}, keep_rejected: true}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
FLOWS = [f"flow-{number}" for number in range(60)]


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    flows = [FLOW.format(number=number) for number in range(len(FLOWS))]
    async with routing(tmp_path, *flows) as router:
        yield router


def refused(router: Router, flow_id: str, size: int = 10) -> event_pb2.Rejected:
    """Have a request judged that does not parse."""
    request = event_pb2.Request(
        request_id="0" * 32,
        flow_id=flow_id,
        method="POST",
        headers=[event_pb2.Header(name=b"content-type", value=b"application/json")],
        body=b"{" * size,
    )
    outcome = router.receiver.take(request)
    assert isinstance(outcome, event_pb2.Outcome)
    assert outcome.rejected.reason == event_pb2.REASON_MALFORMED
    return outcome.rejected


def count(counter: Any) -> int:
    """What a counter has come to."""
    samples = [one for family in counter.collect() for one in family.samples]
    return int(sum(one.value for one in samples if one.name.endswith("_total")))


async def kept(router: Router) -> list[rejection_pb2.RejectionRecord]:
    """All records of rejections."""
    topic = TOPICS.rejections
    return [
        rejection_pb2.RejectionRecord.FromString(record.value or b"")
        for partition in range(topic.partitions)
        async for batch in router.log.read(topic, partition, 0, 2**62)
        for record in batch
    ]


async def test_while_the_log_takes_nothing_little_is_held(router: Router) -> None:
    """What is beyond the bound is dropped and counted; the answers go out."""
    router.log.hold(*FLOWS)
    size = 250_000
    for _ in range(3):
        for flow_id in FLOWS[:10]:
            refused(router, flow_id, size)
    metrics = router.receiver.metrics
    dropped = 30 - MOST_PENDING_BYTES // size
    await until(lambda: count(metrics.rejections_dropped) == dropped)

    router.log.release()
    await until(lambda: count(metrics.rejections_kept) == 30 - dropped)
    refused(router, FLOWS[11], size)

    await until(lambda: count(metrics.rejections_kept) == 31 - dropped)
    assert all(record.kept.whole for record in await kept(router))


async def test_a_log_that_has_gone_costs_no_answer(tmp_path: Path) -> None:
    """It is dropped, and counted."""
    async with routing(tmp_path, FLOW.format(number=0)) as router:
        router.log.faulty = frozenset([b"flow-0"])
        refused(router, "flow-0")
        metrics = router.receiver.metrics
        await until(lambda: count(metrics.rejections_dropped) == 1)
        router.log.faulty = frozenset()
    refused(router, "flow-0")

    await until(lambda: count(metrics.rejections_dropped) == 2)
    assert count(metrics.rejections_kept) == 0


async def test_so_many_are_kept_a_second_of_all_flows_together(router: Router) -> None:
    """The rest is counted, each flow's for itself."""
    begun = time.monotonic()
    for flow_id in FLOWS * 20:
        refused(router, flow_id)
    seconds = int(time.monotonic() - begun) + 2

    async def told() -> int:
        records = await kept(router)
        whole = sum(record.HasField("kept") for record in records)
        return whole + sum(record.left_out.count for record in records)

    async def all_told() -> bool:
        return await told() == 20 * len(FLOWS)

    await until_asked(all_told)
    records = await kept(router)
    assert sum(one.HasField("kept") for one in records) <= seconds * MOST_A_SECOND
    assert {one.left_out.flow_id for one in records} == {"", *FLOWS}
