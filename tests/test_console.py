"""What people see of events, and do with them: over gRPC, on the embedded log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from hookline.v1 import (
    control_pb2,
    execution_pb2,
    execution_pb2_grpc,
    flow_pb2,
    flow_pb2_grpc,
)
from tests.instance import Instance, running
from tests.test_executions import answering, calling
from tests.waiting import until_asked

KEEP = """
id: keep
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body.n}}]
"""
Filter = execution_pb2.EventFilter
FAILED = execution_pb2.STATUS_FAILED
HELD = execution_pb2.STATUS_HELD
PENDING = execution_pb2.STATUS_PENDING
COMPLETED = execution_pb2.STATUS_COMPLETED


def waiting(url: str) -> str:
    """A flow whose next attempt is an hour away."""
    return calling(url, 5).replace("1ms", "1h")


def holding(url: str) -> str:
    """A flow that keeps what has failed for good."""
    return calling(url, 1) + "on_exhausted: hold\n"


async def ask(hookline: Instance, method: str, request: Any) -> Any:
    """Call a method of ExecutionService."""
    stub = execution_pb2_grpc.ExecutionServiceStub(hookline.channel)
    return await getattr(stub, method)(request, metadata=hookline.metadata)


async def listed(hookline: Instance, **wanted: Any) -> list[execution_pb2.EventSummary]:
    request = execution_pb2.ListEventsRequest(filter=Filter(**wanted), limit=1000)
    return list((await ask(hookline, "ListEvents", request)).events)


async def get(hookline: Instance, event_id: str) -> execution_pb2.GetEventResponse:
    request = execution_pb2.GetEventRequest(event_id=event_id)
    answer: execution_pb2.GetEventResponse = await ask(hookline, "GetEvent", request)
    return answer


async def until_event(
    hookline: Instance,
    event_id: str,
    holds: Callable[[execution_pb2.EventSummary], bool],
) -> execution_pb2.GetEventResponse:
    """Return an event when something holds of it."""

    async def is_so() -> bool:
        return holds((await get(hookline, event_id)).summary)

    await until_asked(is_so)
    return await get(hookline, event_id)


async def sent(hookline: Instance, flow_id: str, body: bytes = b'{"n": 1}') -> str:
    """Send an event; gives its id."""
    answer = await hookline.send(flow_id, body)
    assert answer.status == 200
    return str(answer.headers["x-event-id"])


async def replayed(
    hookline: Instance, **request: Any
) -> tuple[int, execution_pb2.Replay]:
    """Replay, and wait for its end."""
    answer = await ask(
        hookline, "ReplayEvents", execution_pb2.ReplayEventsRequest(**request)
    )
    found = answer.replay

    async def has_ended() -> bool:
        nonlocal found
        every = await ask(hookline, "ListReplays", execution_pb2.ListReplaysRequest())
        [found] = [one for one in every.replays if one.id == answer.replay.id]
        return bool(found.ended_at_us)

    await until_asked(has_ended)
    return answer.count, found


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance with a flow that keeps a number."""
    async with running(tmp_path, KEEP) as hookline:
        yield hookline


async def test_an_event_is_seen_without_anybody_asking_for_it(kept: Instance) -> None:
    """The index reads by itself; what is asked first finds it there."""
    event_id = await sent(kept, "keep")

    found = await until_event(kept, event_id, lambda one: one.status == COMPLETED)

    assert found.event.request.body == b'{"n": 1}'
    assert found.summary.ended.result == b"1"
    assert [one.WhichOneof("happened") for one in found.timeline] == ["ended"]


async def test_events_come_page_by_page(kept: Instance) -> None:
    """Each once, newest first, also where others come meanwhile."""
    ids = [await sent(kept, "keep") for _ in range(5)]
    token, found = "", []
    while True:
        page = await ask(
            kept,
            "ListEvents",
            execution_pb2.ListEventsRequest(limit=2, page_token=token),
        )
        found += [one.event_id for one in page.events]
        token = page.next_page_token
        if not token:
            break
        await sent(kept, "keep")

    assert found == list(reversed(ids))


async def test_the_index_is_made_anew_where_it_is_deleted(tmp_path: Path) -> None:
    """Everything that was known of events is in the log."""
    async with (
        answering(503) as (url, _),
        running(tmp_path, KEEP, calling(url, 1)) as hookline,
    ):
        kept = await sent(hookline, "keep")
        lost = await sent(hookline, "calling")
        await until_event(hookline, lost, lambda one: one.status == FAILED)
        before = await listed(hookline)
        assert {one.event_id for one in before} == {kept, lost}
    for file in (tmp_path / "data").glob("console.sqlite*"):
        file.unlink()
    async with running(tmp_path) as hookline:
        assert await listed(hookline) == before


async def test_a_failing_event_shows_its_attempts_and_when_the_next_is_due(
    tmp_path: Path,
) -> None:
    """And is found by the error."""
    async with (
        answering(503) as (url, _),
        running(tmp_path, waiting(url)) as hookline,
    ):
        event_id = await sent(hookline, "calling")
        found = await until_event(hookline, event_id, lambda one: one.HasField("waits"))

        assert (found.summary.status, found.summary.waits.step) == (PENDING, "call")
        assert found.summary.waits.next_at_us > found.summary.accepted_at_us
        [failed] = [one for one in found.timeline if one.HasField("failed")]
        assert "503" in failed.failed.error
        assert [one.event_id for one in await listed(hookline, text="503")] == [
            event_id
        ]
        assert await listed(hookline, text="504") == []


async def test_a_retry_makes_the_next_attempt_now(tmp_path: Path) -> None:
    """An hour before its time; once more is told that it has ended."""
    async with (
        answering(503, 200) as (url, _),
        running(tmp_path, waiting(url)) as hookline,
    ):
        event_id = await sent(hookline, "calling")
        await until_event(hookline, event_id, lambda one: one.HasField("waits"))
        request = execution_pb2.RetryEventRequest(event_id=event_id)

        answer = await ask(hookline, "RetryEvent", request)
        found = await until_event(
            hookline, event_id, lambda one: one.status == COMPLETED
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(hookline, "RetryEvent", request)

    assert answer.asked.carried_out
    kinds = [one.WhichOneof("happened") for one in found.timeline]
    assert kinds == ["failed", "control", "ended"]
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert f"hookline events replay {event_id}" in (refused.value.details() or "")


async def test_held_events_are_skipped_cancelled_and_edited(tmp_path: Path) -> None:
    """One after another; the flow goes on with the next."""
    async with (
        answering(503, 503, 503, 200) as (url, _),
        running(tmp_path, holding(url)) as hookline,
    ):
        ids = [await sent(hookline, "calling") for _ in range(3)]
        edit = control_pb2.EditAndRetry(body=b'{"n": 2}')
        for event_id, method, request in (
            (ids[0], "SkipEvent", execution_pb2.SkipEventRequest()),
            (ids[1], "CancelEvent", execution_pb2.CancelEventRequest()),
            (ids[2], "EditAndRetryEvent", execution_pb2.EditAndRetryEventRequest()),
        ):
            await until_event(hookline, event_id, lambda one: one.status == HELD)
            request.event_id = event_id
            if isinstance(request, execution_pb2.EditAndRetryEventRequest):
                request.edit.CopyFrom(edit)
            assert (await ask(hookline, method, request)).asked.carried_out
        last = await until_event(hookline, ids[2], lambda one: one.status == COMPLETED)
        statuses = [one.status for one in await listed(hookline)]

    assert statuses == [
        COMPLETED,
        execution_pb2.STATUS_CANCELLED,
        execution_pb2.STATUS_SKIPPED,
    ]
    assert last.event.request.body == b'{"n": 1}'


async def test_what_is_asked_of_no_event_is_not_found(kept: Instance) -> None:
    """Whatever it is."""
    for method, request in (
        ("RetryEvent", execution_pb2.RetryEventRequest(event_id="x")),
        ("SkipEvent", execution_pb2.SkipEventRequest(event_id="x")),
        ("GetDeadLetter", execution_pb2.GetDeadLetterRequest(id="x")),
        ("GetDeadLetter", execution_pb2.GetDeadLetterRequest(id="0/99")),
        ("CancelReplay", execution_pb2.CancelReplayRequest(replay_id="x")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(kept, method, request)

        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert (refused.value.details() or "").startswith("There is no")


async def test_a_replay_repeats_what_its_filter_finds(kept: Instance) -> None:
    """A dry run counts it; new events have the same bytes, and say which they repeat."""
    ids = [await sent(kept, "keep", b'{"n":  %d}' % number) for number in range(3)]
    for event_id in ids:
        await until_event(kept, event_id, lambda one: one.status == COMPLETED)
    wanted = Filter(flow_id="keep", statuses=[COMPLETED])
    dry = await ask(
        kept,
        "ReplayEvents",
        execution_pb2.ReplayEventsRequest(filter=wanted, dry_run=True),
    )
    after_dry_run = await listed(kept)

    count, replay = await replayed(kept, filter=wanted, rate=1000)
    every = await listed(kept)
    first = await get(kept, ids[0])
    again = await until_event(
        kept, first.replays[0], lambda one: one.status == COMPLETED
    )

    assert (dry.count, dry.HasField("replay"), len(after_dry_run)) == (3, False, 3)
    assert (count, replay.appended, replay.state) == (3, 3, 2)
    assert [one.replayed for one in every] == [*reversed(ids), "", "", ""]
    assert again.event.request == first.event.request
    assert again.event.replayed == ids[0]
    assert [one.event_id for one in await listed(kept, not_replayed=True)] == [
        one.event_id for one in every[:3]
    ]


async def test_a_replay_runs_on_the_current_version_or_the_original(
    kept: Instance,
) -> None:
    """As it is asked for."""
    event_id = await sent(kept, "keep")
    await until_event(kept, event_id, lambda one: one.status == COMPLETED)
    await kept.apply(KEEP.replace("=body.n", "=body.n + 1"))
    wanted = Filter(event_ids=[event_id])

    await replayed(kept, filter=wanted)
    await replayed(kept, filter=wanted, original_version=True)
    replays = (await get(kept, event_id)).replays
    ended = [
        await until_event(kept, one, lambda one: one.status == COMPLETED)
        for one in replays
    ]

    assert [one.summary.ended.result for one in ended] == [b"2", b"1"]


async def test_events_of_a_flow_that_is_stopped_are_left_out_of_replays(
    kept: Instance,
) -> None:
    """As its requests are; the replay says so."""
    event_id = await sent(kept, "keep")
    await until_event(kept, event_id, lambda one: one.status == COMPLETED)
    await flow_pb2_grpc.FlowServiceStub(kept.channel).StopFlow(
        flow_pb2.StopFlowRequest(flow_id="keep"), metadata=kept.metadata
    )

    _, replay = await replayed(kept, filter=Filter(event_ids=[event_id]))

    assert (replay.appended, replay.left_out) == (0, 1)
    assert "start it" in replay.reason


async def test_a_replay_is_slow_where_it_is_told_and_ends_when_it_is_cancelled(
    kept: Instance,
) -> None:
    """What it has appended stays."""
    for _ in range(3):
        await sent(kept, "keep")
    begun = await ask(
        kept,
        "ReplayEvents",
        execution_pb2.ReplayEventsRequest(filter=Filter(flow_id="keep"), rate=1),
    )

    async def has_begun() -> bool:
        every = await ask(kept, "ListReplays", execution_pb2.ListReplaysRequest())
        return bool(every.replays[0].appended)

    await until_asked(has_begun)
    request = execution_pb2.CancelReplayRequest(replay_id=begun.replay.id)
    ended = (await ask(kept, "CancelReplay", request)).replay

    assert ended.state == execution_pb2.REPLAY_STATE_CANCELLED
    assert 1 <= ended.appended < 3
    assert len(await listed(kept)) == 3 + ended.appended


async def test_a_large_body_is_copied_for_its_replay(kept: Instance) -> None:
    """An object of its own, with the same bytes."""
    body = b'{"n": 7, "x": "%s"}' % (b"x" * 300_000)
    event_id = await sent(kept, "keep", body)
    await until_event(kept, event_id, lambda one: one.status == COMPLETED)

    await replayed(kept, filter=Filter(event_ids=[event_id]))
    first = await get(kept, event_id)
    again = await until_event(
        kept, first.replays[0], lambda one: one.status == COMPLETED
    )

    old, new = first.event.request.stored_body, again.event.request.stored_body
    assert again.summary.ended.result == b"7"
    assert old.name != new.name
    assert (old.size, old.sha256) == (new.size, new.sha256)


async def test_dead_letters_are_listed_shown_and_replayed(tmp_path: Path) -> None:
    """With how their replay stands; the ones that were replayed can be left out."""
    async with (
        answering(503, 503, 200) as (url, _),
        running(tmp_path, calling(url, 1)) as hookline,
    ):
        ids = [await sent(hookline, "calling") for _ in range(2)]
        for event_id in ids:
            await until_event(hookline, event_id, lambda one: one.status == FAILED)
        letters = partial(ask, hookline, "ListDeadLetters")
        every = await letters(execution_pb2.ListDeadLettersRequest())
        shown = await ask(
            hookline, "GetDeadLetter", execution_pb2.GetDeadLetterRequest(id=ids[0])
        )

        count, _ = await replayed(
            hookline, filter=Filter(event_ids=[ids[0]]), dead_letters=True
        )
        left = Filter(not_replayed=True)
        open_ones = await letters(execution_pb2.ListDeadLettersRequest(filter=left))

        async def is_well() -> bool:
            one = await ask(
                hookline,
                "GetDeadLetter",
                execution_pb2.GetDeadLetterRequest(id=ids[0]),
            )
            return bool(one.summary.replay_status == COMPLETED)

        await until_asked(is_well)

    assert [one.id for one in every.dead_letters] == [ids[1], ids[0]]
    assert "503" in every.dead_letters[0].reason
    assert shown.dead_letter.event.request.body == b'{"n": 1}'
    assert count == 1
    assert [one.id for one in open_ones.dead_letters] == [ids[1]]


async def test_an_instance_without_an_executor_keeps_what_is_asked(
    tmp_path: Path,
) -> None:
    """It is in the log, and carried out when one runs."""
    async with running(tmp_path, KEEP, executor=False) as hookline:
        event_id = await sent(hookline, "keep")
        request = execution_pb2.SkipEventRequest(event_id=event_id)
        answer = await ask(hookline, "SkipEvent", request)
    async with running(tmp_path) as hookline:
        await until_event(
            hookline,
            event_id,
            lambda one: one.status == execution_pb2.STATUS_SKIPPED,
        )

    assert not answer.asked.carried_out


async def test_a_filter_that_is_too_large_is_told(kept: Instance) -> None:
    """And a page token that is none."""
    for request in (
        execution_pb2.ListEventsRequest(filter=Filter(event_ids=["x"] * 1001)),
        execution_pb2.ListEventsRequest(page_token="soon"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(kept, "ListEvents", request)

        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_newest_of_many_flows_are_listed_while_events_come(
    kept: Instance,
) -> None:
    """Listing and filling go on side by side."""

    async def listing() -> None:
        for _ in range(10):
            await listed(kept)

    await asyncio.gather(listing(), *(sent(kept, "keep") for _ in range(50)))

    assert len(await listed(kept)) == 50
