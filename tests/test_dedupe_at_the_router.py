"""Idempotency keys at the edge: a repeat that is known is answered, and appends nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from hookline.errors import Unavailable
from hookline.event_ids import partition_of_id
from hookline.generations import Generations
from hookline.log import Position, partition_of
from hookline.v1 import event_pb2, publish_pb2, publish_pb2_grpc
from services.router import remembered
from services.router.keys import Key
from services.router.remembered import RememberedKeys, Repeats
from tests.instance import JSON, Instance, running
from tests.routers import (
    FLOWS,
    TOPICS,
    Router,
    assert_unavailable,
    request,
    routing,
    until,
)

KEYED = ("Idempotency-Key", "order-1")
FLOW = """
id: {id}
trigger:
  webhook: {{auth: {{type: none}}, methods: [GET, POST], max_body: 400kB, {more}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
GUARDED = """
id: guarded
trigger: {webhook: {auth: {type: api_key, value: "${secret:KEY}"}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
EVENT = {"specversion": "1.0", "source": "/shop", "type": "t", "data": 1}
EVENT_TYPE = ("Content-Type", "application/cloudevents+json")
BATCH_TYPE = ("Content-Type", "application/cloudevents-batch+json")


def flow(flow_id: str = "open", more: str = "") -> str:
    return FLOW.format(id=flow_id, more=more)


async def logged(instance: Instance | Router) -> list[event_pb2.Event]:
    """All events of a log, partition by partition."""
    log = instance.hosted.log if isinstance(instance, Instance) else instance.log
    found: list[event_pb2.Event] = []
    topic = instance_topic(instance)
    for partition in range(topic.partitions):
        start, end = await log.bounds(topic, partition)
        async for batch in log.read(topic, partition, start, end):
            found += [event_pb2.Event.FromString(one.value or b"") for one in batch]
    return found


def instance_topic(instance: Instance | Router) -> Any:
    if isinstance(instance, Router):
        return TOPICS.events
    return instance.hosted.topics.events


def bodies_under(directory: Path, event: event_pb2.Event) -> list[Path]:
    """What is in the body store beside the body of an event."""
    name = event.request.stored_body.name.partition("/")[2]
    [found] = directory.rglob(name)
    return [one for one in found.parent.iterdir() if one.is_file()]


def keyed(
    body: bytes = b"1", key: bytes = b"k", flow_id: str = "open"
) -> event_pb2.Request:
    made = request(flow_id, body)
    made.headers.add(name=b"IDEMPOTENCY-Key", value=key)
    return made


def is_duplicate(outcome: event_pb2.Outcome) -> bool:
    headers = {(one.name, one.value) for one in outcome.accepted.headers}
    return (b"x-duplicate", b"true") in headers


async def test_a_hundred_at_once_are_one_event(tmp_path: Path) -> None:
    """All wait for the first one's append, and get the same answer."""
    async with routing(tmp_path, *FLOWS) as router:
        router.log.hold("open")
        asking = [
            asyncio.ensure_future(router.receiver.receive(keyed())) for _ in range(100)
        ]
        await until(lambda: len(router.log.appended) == 1)
        await asyncio.sleep(0)
        assert not any(one.done() for one in asking)
        router.log.release()
        outcomes = await asyncio.gather(*asking)

        assert len(await logged(router)) == 1
    assert len({one.accepted.event_id for one in outcomes}) == 1
    assert sum(map(is_duplicate, outcomes)) == 99


async def test_who_leaves_takes_nobody_along(tmp_path: Path) -> None:
    """The first caller goes away; the second still gets its answer."""
    async with routing(tmp_path, *FLOWS) as router:
        router.log.hold("open")
        first, second = (
            asyncio.ensure_future(router.receiver.receive(keyed())) for _ in range(2)
        )
        await until(lambda: len(router.log.appended) == 1)
        first.cancel()
        await asyncio.sleep(0)
        router.log.release()

        assert is_duplicate(await second)
        assert is_duplicate(await router.receiver.receive(keyed()))
        assert len(await logged(router)) == 1


async def test_a_failed_append_is_not_remembered(tmp_path: Path) -> None:
    """Those that wait fail with it; the next repeat is appended, under the same id."""
    async with routing(tmp_path, *FLOWS) as router:
        router.log.hold("open")
        asking = [
            asyncio.ensure_future(router.receiver.receive(keyed())) for _ in range(2)
        ]
        other = asyncio.ensure_future(router.receiver.receive(keyed(b"2")))
        await until(lambda: len(router.log.appended) == 1)
        await asyncio.sleep(0)
        router.log.fail(0, Unavailable("The disk is gone."))
        for outcome in [*await asyncio.gather(*asking), await other]:
            assert_unavailable(outcome)

        router.log.release()
        again = await router.receiver.receive(keyed(b"2"))
        assert not is_duplicate(again)
        assert again.accepted.event_id == router.log.appended[0].id


async def test_another_body_is_a_conflict(tmp_path: Path) -> None:
    """422 over HTTP, and nothing is appended; the first body is still a repeat."""
    async with running(tmp_path, flow()) as instance:
        first = await instance.send("open", b"1", (JSON, KEYED))
        other = await instance.send("open", b"2", (JSON, KEYED))
        repeat = await instance.send("open", b"1", (JSON, KEYED))

        assert len(await logged(instance)) == 1
    assert (first.status, other.status, repeat.status) == (200, 422, 200)
    assert other.json["type"] == "urn:hookline:problem:conflict"
    assert "new key" in other.json["detail"]
    assert "x-duplicate" not in first.headers
    assert repeat.headers["x-duplicate"] == "true"
    assert repeat.headers["x-event-id"] == first.headers["x-event-id"]


async def test_an_id_is_made_of_flow_and_key(tmp_path: Path) -> None:
    """Any router makes the same one; flows do not share keys; the partition is in it."""
    ids = []
    for directory in (tmp_path / "a", tmp_path / "b"):
        async with running(directory, flow(), flow("other")) as instance:
            answers = [
                await instance.send(one, b"1", (JSON, KEYED))
                for one in ("open", "other")
            ]
            assert not any("x-duplicate" in one.headers for one in answers)
            ids.append([one.headers["x-event-id"] for one in answers])
    assert ids[0] == ids[1]
    assert ids[0][0] != ids[0][1]
    for event_id, flow_id in zip(ids[0], ("open", "other"), strict=True):
        assert UUID(event_id).version == 8
        assert partition_of_id(event_id, 7) == partition_of(flow_id.encode(), 7)


async def test_an_event_with_a_key_is_found_by_its_id(tmp_path: Path) -> None:
    """Its key and the digest of its body are with it."""
    async with running(tmp_path, flow()) as instance:
        answer = await instance.send("open", b"1", (JSON, KEYED))
        await instance.send("open", b"2")
        event = await instance.event(answer)

    assert event.dedupe_key == "header:order-1"
    assert event.dedupe_window_s == 86_400
    assert event.body_digest.hex() == "6b86b273ff34fce1"


@pytest.mark.parametrize(
    ("headers", "body", "key"),
    [
        ([JSON, ("idempotency-key", "a")], b"1", "header:a"),
        ([JSON, ("Webhook-Id", "msg_1")], b"1", "webhook-id:msg_1"),
        ([JSON, ("webhook-id", "m"), KEYED], b"1", "header:order-1"),
        ([JSON, ("ce-id", "7"), ("ce-source", "/s")], b"1", 'cloudevent:["/s","7"]'),
        ([JSON, ("ce-id", "7")], b"1", ""),
        ([JSON, ("Idempotency-Key", "")], b"1", ""),
        ([JSON, ("trace-id", "7")], b'"ce-id: 8, webhook-id: 7"', ""),
        (
            [EVENT_TYPE],
            json.dumps({**EVENT, "id": "9"}).encode(),
            'cloudevent:["/shop","9"]',
        ),
        ([JSON, ("Idempotency-Key", "k\xfc")], b"1", "header:k\xfc"),
    ],
)
async def test_where_a_key_comes_from(
    tmp_path: Path, headers: list[tuple[str, str]], body: bytes, key: str
) -> None:
    async with running(tmp_path, flow(), executor=False) as instance:
        answer = await instance.send("open", body, headers)
        [event] = await logged(instance)

    assert answer.status == 200, answer.body
    assert event.dedupe_key == key
    assert UUID(event.id).version == (8 if key else 7)
    assert bool(event.dedupe_window_s) == bool(key)


async def test_a_flow_says_itself_what_the_key_is(tmp_path: Path) -> None:
    """Then nothing else counts; where it gives nothing there is no key."""
    own = 'idempotency_key: "=headers.`x-delivery-id`", dedupe_window: 10m'
    async with running(tmp_path, flow(more=own), executor=False) as instance:
        for delivery in ("d-1", "d-1", "d-2"):
            await instance.send(
                "open", b"1", (JSON, KEYED, ("X-Delivery-Id", delivery))
            )
        await instance.send("open", b"1", (JSON, KEYED))
        events = await logged(instance)

    assert [one.dedupe_key for one in events] == ["own:d-1", "own:d-2", ""]
    assert [one.dedupe_window_s for one in events] == [600, 600, 0]


async def test_a_key_can_be_of_the_body(tmp_path: Path) -> None:
    """A value that is no text is its JSON; where the expression fails there is no key."""
    own = 'idempotency_key: "=[body.shop, $number(body.order)]"'
    async with running(tmp_path, flow(more=own), executor=False) as instance:
        for order in ("7", "7", "none"):
            body = json.dumps({"shop": "a", "order": order}).encode()
            answer = await instance.send("open", body)
            assert answer.status == 200
        events = await logged(instance)

    assert [one.dedupe_key for one in events] == ['own:["a",7]', ""]


async def test_a_long_key_is_its_digest(tmp_path: Path) -> None:
    async with running(tmp_path, flow(), executor=False) as instance:
        for end in "aab":
            key = ("Idempotency-Key", "k" * 1000 + end)
            await instance.send("open", b"1", (JSON, key))
        events = await logged(instance)

    assert len(events) == 2
    assert all(len(one.dedupe_key) < 100 for one in events)


async def test_dedupe_can_be_off(tmp_path: Path) -> None:
    """Then each request is an event of its own."""
    async with running(
        tmp_path, flow(more="dedupe_window: off"), executor=False
    ) as instance:
        for _ in range(2):
            await instance.send("open", b"1", (JSON, KEYED))
        events = await logged(instance)

    assert [(one.dedupe_key, UUID(one.id).version) for one in events] == [("", 7)] * 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("dedupe_window: 31d", 'repeats are known for "1s" to "30d"'),
        ("dedupe_window: 200ms", 'repeats are known for "1s" to "30d"'),
        ("dedupe_window: soon", 'like "24h" or "10m", or off'),
        ("idempotency_key: fixed", "write an expression"),
        ('idempotency_key: "=body.("', "not a JSONata expression"),
        ('idempotency_key: "=body", dedupe_window: off', "leave one of them out"),
    ],
)
async def test_mistakes_are_told(tmp_path: Path, more: str, said: str) -> None:
    async with running(tmp_path) as instance:
        answer = await instance.apply(flow(more=more))
    [mistake] = answer.mistakes
    assert said in mistake.text


async def test_a_body_of_the_body_store_has_a_key_too(tmp_path: Path) -> None:
    """A repeat leaves nothing in the store, nor does another body."""
    large, other = (b'"%b"' % (letter * 300_000) for letter in (b"x", b"y"))
    async with running(tmp_path, flow(), executor=False) as instance:
        answers = [
            await instance.send("open", body, (JSON, KEYED))
            for body in (large, large, other)
        ]
        [event] = await logged(instance)
    stored = await asyncio.to_thread(bodies_under, tmp_path, event)

    assert [one.status for one in answers] == [200, 200, 422]
    assert answers[1].headers["x-duplicate"] == "true"
    assert len(stored) == 1


async def test_a_batch_that_is_sent_again_is_the_same_events(tmp_path: Path) -> None:
    """Each element by itself: one that is new among others is appended."""
    async with running(tmp_path, flow(), executor=False) as instance:

        async def send(*numbers: str, data: int = 1) -> Any:
            events = [{**EVENT, "id": one, "data": data} for one in numbers]
            body = json.dumps(events).encode()
            return await instance.send("open", body, (BATCH_TYPE, KEYED))

        first = await send("1", "2", "2")
        assert len(await logged(instance)) == 2
        again = await send("1", "2", "2")
        more = await send("2", "3")
        other = await send("3", "4", data=2)
        events = await logged(instance)

    assert first.json["eventIds"] == again.json["eventIds"]
    assert first.json["eventIds"][1] == first.json["eventIds"][2]
    assert more.json["eventIds"][0] == first.json["eventIds"][1]
    assert ("x-duplicate" in first.headers, "x-duplicate" in more.headers) == (
        False,
        False,
    )
    assert again.headers["x-duplicate"] == "true"
    assert other.status == 422
    assert [one.dedupe_key for one in events] == [
        f'cloudevent:["/shop","{number}"]' for number in "123"
    ]


async def test_who_may_not_send_learns_and_changes_nothing(tmp_path: Path) -> None:
    """A wrong credential is 401 for a key that is there, and leaves none behind."""
    right, wrong = ("X-Api-Key", "right"), ("X-Api-Key", "wrong")
    async with running(
        tmp_path, GUARDED, environment={"HOOKLINE_SECRET_KEY": "right"}
    ) as instance:
        poison = await instance.send("guarded", b"0", (JSON, KEYED, wrong))
        malformed = await instance.send("guarded", b"{", (JSON, KEYED, right))
        first = await instance.send("guarded", b"1", (JSON, KEYED, right))
        same = await instance.send("guarded", b"1", (JSON, KEYED, wrong))
        other = await instance.send("guarded", b"2", (JSON, KEYED, wrong))

    assert (poison.status, malformed.status, first.status) == (401, 400, 200)
    assert "x-duplicate" not in first.headers
    for answer in (same, other):
        assert answer.status == 401
        assert {*answer.headers} == {*poison.headers}
        assert answer.json["detail"] == poison.json["detail"]


async def test_internal_services_have_keys(tmp_path: Path) -> None:
    """The same id for a repeat; ALREADY_EXISTS for another body."""
    async with running(tmp_path, flow(), executor=False) as instance:
        stub = publish_pb2_grpc.PublishServiceStub(instance.channel)

        def message(body: bytes) -> publish_pb2.PublishRequest:
            return publish_pb2.PublishRequest(
                flow_id="open",
                content_type="application/json",
                body=body,
                idempotency_key="k",
            )

        first = await stub.Publish(message(b"1"), metadata=instance.metadata)
        again = await stub.Publish(message(b"1"), metadata=instance.metadata)
        with pytest.raises(Exception, match="ALREADY_EXISTS"):
            await stub.Publish(message(b"2"), metadata=instance.metadata)
        batch = publish_pb2.PublishBatchRequest(messages=[message(b"1")] * 2)
        both = await stub.PublishBatch(batch, metadata=instance.metadata)
        [event] = await logged(instance)

    assert (first.duplicate, again.duplicate) == (False, True)
    assert {first.event_id, again.event_id, *both.event_ids} == {event.id}
    assert event.dedupe_key == "publish:k"


async def test_the_query_is_the_body_where_there_is_none(tmp_path: Path) -> None:
    async with running(tmp_path, flow(), executor=False) as instance:

        async def get(query: str) -> int:
            rest = f"?{query}"
            answer = await instance.send(
                "open", None, (KEYED,), method="GET", rest=rest
            )
            return answer.status

        assert [await get(one) for one in ("a=1", "a=1", "a=2")] == [200, 200, 422]


def test_what_is_remembered_is_bounded() -> None:
    """The newest half at least, and no more than the whole."""
    forgotten: list[int] = []
    kept = Generations[int, int](10, forgotten.extend)
    for number in range(100):
        kept.put(number, number)
        assert len(kept) <= 10
        assert all(
            kept.get(one) == one for one in range(max(0, number - 4), number + 1)
        )
    assert kept.get(0) is None
    assert forgotten == list(range(90))


async def test_a_key_is_forgotten_after_its_window() -> None:
    """What is appended then is for the executor to judge."""
    key = Key("header:k", "00000000-0000-8000-8000-000000000000", b"12345678", 60)  # type: ignore[arg-type]  # a made-up id
    known = RememberedKeys()
    for age_s, expected in ((59, Repeats.SAME_BODY), (61, None)):
        position: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        known.begin(key, remembered._now_us() - age_s * 1_000_000, position)
        position.set_result(Position(0, 0))
        await asyncio.sleep(0)
        found = known.find(key)
        assert (found.repeats if found else None) is expected


@pytest.mark.parametrize("own", ["=[body.shop, body.order]", "={}", "=body.order"])
async def test_what_an_expression_does_not_find_is_no_key(
    tmp_path: Path, own: str
) -> None:
    """Nor is it for a body that is not read: all of them would be one event."""
    more = f'idempotency_key: "{own}"'
    large = json.dumps({"order": "x", "more": "x" * 300_000}).encode()
    async with running(tmp_path, flow(more=more), executor=False) as instance:
        for body in (b"{}", b'{"other": 1}', large, large.replace(b"x", b"y")):
            answer = await instance.send("open", body)
            assert answer.status == 200
        events = await logged(instance)

    assert [one.dedupe_key for one in events] == [""] * 4


async def test_a_cloud_event_with_an_empty_id_has_no_key(tmp_path: Path) -> None:
    """Its sender tells nothing of what it repeats."""
    headers = (JSON, ("ce-specversion", "1.0"), ("ce-source", "/a"), ("ce-id", ""))
    async with running(tmp_path, flow(), executor=False) as instance:
        for body in (b"1", b"2"):
            await instance.send("open", body, headers)
        events = await logged(instance)

    assert {one.dedupe_key for one in events} <= {""}
