"""Refused requests that a person accepts after all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from hookline.event import new_event_id
from hookline.v1 import event_pb2, execution_pb2, rejection_pb2
from tests.caller import request_bytes
from tests.instance import JSON, Instance, running
from tests.instance_on_kafka import Opening
from tests.rejected import (
    FLOWS,
    KEPT,
    SECRETS,
    accept,
    event_of,
    got,
    listed,
    refused,
)
from tests.waiting import until_asked


@pytest.fixture
async def hookline(open_instance: Opening) -> AsyncIterator[Instance]:
    async with open_instance(*FLOWS, environment=SECRETS) as instance:
        yield instance


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, *FLOWS, environment=SECRETS) as instance:
        yield instance


async def test_a_rejection_is_accepted_as_if_its_credential_had_been_right(
    hookline: Instance,
) -> None:
    """The flow runs once with the original bytes; accepting again names the same event."""
    body = b'{ "n" : 9007199254740993 }\r\n'
    rejection = await refused(
        hookline, "kept", body, headers=[JSON, ("X-Odd", "kept")], rest="?api_key=w"
    )
    assert rejection.whole

    first = await accept(hookline, rejection.id)
    ended = await hookline.ends.wait(first.event_id)
    again = await accept(hookline, rejection.id)
    event = await event_of(hookline, first.event_id)

    assert (first.already, again.already) == (False, True)
    assert again.event_id == first.event_id
    assert ended.status == execution_pb2.STATUS_COMPLETED
    assert ended.result == b'{"n":9007199254740993}'
    assert event.from_rejection == rejection.id
    assert event.request.body == body
    headers = [(one.name, one.value) for one in event.request.headers]
    assert (b"X-Odd", b"kept") in headers
    assert [one.id for one in hookline.ends.order] == [first.event_id]
    [summary] = await listed(hookline, "kept", limit=1)
    assert summary.event_id == first.event_id
    assert (await got(hookline, rejection.id)).event_id == first.event_id


async def test_who_accepts_at_once_gets_one_event(hookline: Instance) -> None:
    """Also when two press the button together."""
    rejection = await refused(hookline, "kept", b"1")

    answers = await asyncio.gather(*(accept(hookline, rejection.id) for _ in range(5)))
    await hookline.ends.wait(answers[0].event_id)
    after = await hookline.send("kept", b"2", rest="?api_key=right-key")
    await hookline.result(after)

    assert len({one.event_id for one in answers}) == 1
    assert sum(not one.already for one in answers) == 1
    assert [one.id for one in hookline.ends.order] == [
        answers[0].event_id,
        after.headers["x-event-id"],
    ]


async def test_an_acceptance_that_broke_off_goes_on_with_the_same_event(
    embedded: Instance,
) -> None:
    """Which event it becomes is written down before the event is."""
    rejection = await refused(embedded, "kept", b"1")
    mark = rejection_pb2.AcceptedRejection(
        rejection_id=rejection.id, event_id="01a20d0b-8fac-753b-a459-6bbb82803389"
    )
    record = rejection_pb2.RejectionRecord(accepting=mark)
    await embedded.hosted.log.append(
        embedded.hosted.topics.rejections, b"kept", record.SerializeToString()
    )
    assert not (await got(embedded, rejection.id)).event_id

    answer = await accept(embedded, rejection.id)
    await embedded.ends.wait(answer.event_id)

    assert (answer.event_id, answer.already) == (mark.event_id, False)


async def test_an_event_that_is_there_is_not_appended_again(
    embedded: Instance,
) -> None:
    """As after a crash between the event and the mark that it is done."""
    rejection = await refused(embedded, "kept", b"1")
    mark = rejection_pb2.AcceptedRejection(
        rejection_id=rejection.id, event_id=new_event_id()
    )
    record = rejection_pb2.RejectionRecord(accepting=mark)
    event = event_pb2.Event(
        id=mark.event_id,
        flow_id="kept",
        flow_version=rejection.flow_version,
        request=rejection.request,
        from_rejection=rejection.id,
    )
    log, topics = embedded.hosted.log, embedded.hosted.topics
    await log.append(topics.rejections, b"kept", record.SerializeToString())
    await log.append(topics.events, b"kept", event.SerializeToString())

    first = await accept(embedded, rejection.id)
    again = await accept(embedded, rejection.id)
    after = await embedded.send("kept", b"2", rest="?api_key=right-key")
    await embedded.result(after)

    assert (first.event_id, first.already) == (mark.event_id, True)
    assert (again.event_id, again.already) == (mark.event_id, True)
    assert [one.id for one in embedded.ends.order] == [
        mark.event_id,
        after.headers["x-event-id"],
    ]


@pytest.mark.parametrize("sent", [b"", b"pay 100"])
async def test_a_body_that_broke_off_is_never_whole(
    embedded: Instance, sent: bytes
) -> None:
    """What had come of it is shown; accepted it would be an event that nobody sent."""
    host, _, port = embedded.hosted.http.rpartition(":")
    head = [("Content-Type", "text/plain"), ("Content-Length", "100000")]
    path = "/hook/wide?api_key=right-key"
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_bytes("POST", path, head, None) + sent)
    await writer.drain()
    writer.close()

    async def there() -> bool:
        return bool(await listed(embedded, "wide"))

    await until_asked(there)
    [summary] = await listed(embedded, "wide")
    assert (summary.whole, summary.body_size) == (False, len(sent))
    rejection = (await got(embedded, summary.rejection_id)).rejection
    assert rejection.request.body == sent
    with pytest.raises(grpc.aio.AioRpcError, match="not kept whole"):
        await accept(embedded, summary.rejection_id)


async def test_what_was_not_kept_whole_is_not_accepted(embedded: Instance) -> None:
    """With what to set, so that the next one can be."""
    cut = await refused(embedded, "keyed")
    large = b'"%s"' % (b"x" * 300_000)
    unread = await refused(embedded, "wide", large, rest="?api_key=wrong")
    too_large = await refused(embedded, "wide", large + b"x", rest="?api_key=right-key")

    with pytest.raises(grpc.aio.AioRpcError, match="keep_rejected: true") as refusal:
        await accept(embedded, cut.id)
    assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    for rejection in (unread, too_large):
        with pytest.raises(grpc.aio.AioRpcError, match="up to 256 KiB") as refusal:
            await accept(embedded, rejection.id)
        assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (unread.body_size, len(unread.request.body)) == (len(large), 0)
    assert (too_large.body_size, len(too_large.request.body)) == (len(large) + 1, 1024)


class Wrong(NamedTuple):
    """What is wrong with a request, and what is said of it."""

    method: str
    body: bytes
    headers: list[tuple[str, str]]
    code: grpc.StatusCode
    sentence: str


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong("POST", b"{", [JSON], grpc.StatusCode.INVALID_ARGUMENT, "JSON"),
        Wrong("POST", b"{}", [], grpc.StatusCode.INVALID_ARGUMENT, "Content-Type"),
        Wrong("PUT", b"{}", [JSON], grpc.StatusCode.FAILED_PRECONDITION, "methods"),
        Wrong("POST", b"9" * 3000, [JSON], grpc.StatusCode.OUT_OF_RANGE, "max_body"),
    ],
)
async def test_what_is_wrong_besides_the_credential_stays_refused(
    embedded: Instance, wrong: Wrong
) -> None:
    """And nothing runs."""
    rejection = await refused(
        embedded, "kept", wrong.body, headers=wrong.headers, method=wrong.method
    )

    with pytest.raises(grpc.aio.AioRpcError, match=wrong.sentence) as refusal:
        await accept(embedded, rejection.id)

    assert refusal.value.code() == wrong.code
    after = await embedded.send("kept", b"1", rest="?api_key=right-key")
    await embedded.result(after)
    assert len(embedded.ends.order) == 1


async def test_a_mended_flow_takes_what_it_had_refused(embedded: Instance) -> None:
    """The flow as it is now judges, not as it was."""
    rejection = await refused(embedded, "kept", b"9" * 3000)
    await embedded.apply(KEPT.replace("2KB", "4KB"))

    answer = await accept(embedded, rejection.id)
    await embedded.ends.wait(answer.event_id)

    assert (await event_of(embedded, answer.event_id)).flow_version == 2
