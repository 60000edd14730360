"""Stop 2: the edge's stream to its routers, and what becomes of requests when it breaks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from hookline.errors import Malformed
from hookline.v1 import (
    event_pb2,
    publish_pb2,
    publish_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
)
from services.ingress.byte_bound import Count
from services.ingress.router_client import RouterClient
from tests.caller import call, call_raw, request_bytes
from tests.instance import JSON
from tests.routers import (
    EDGE_TOKEN,
    INSIDE_TOKEN,
    Router,
    edge,
    public,
    routing,
    until,
)

Context = grpc.aio.ServicerContext[Any, Any]
FLOW = """
id: {id}
trigger: {{webhook: {{max_body: 400kB, auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
FLOWS = tuple(FLOW.format(id=flow_id) for flow_id in ("open", "stuck"))


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path / "one", *FLOWS) as router:
        yield router


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path / "other", *FLOWS) as router:
        yield router


def request(flow_id: str = "open", body: bytes = b"1") -> event_pb2.Request:
    """A request as the edge makes it."""
    return event_pb2.Request(
        request_id="0" * 32,
        flow_id=flow_id,
        method="POST",
        headers=[event_pb2.Header(name=b"Content-Type", value=b"application/json")],
        body=body,
    )


async def send(client: RouterClient, count: int = 1) -> Sequence[event_pb2.Outcome]:
    """Send so many requests at once, when a router is there."""
    await until(lambda: client.ready)
    return await asyncio.gather(*(client.receive(request()) for _ in range(count)))


def assert_unavailable(outcome: event_pb2.Outcome) -> None:
    assert outcome.rejected.reason == event_pb2.REASON_UNAVAILABLE, outcome
    assert [(h.name, h.value) for h in outcome.rejected.headers] == [
        (b"Retry-After", b"1")
    ]


def assert_accepted(outcomes: Sequence[event_pb2.Outcome]) -> None:
    assert [one for one in outcomes if not one.accepted.event_id] == []


async def test_a_webhook_goes_the_whole_line(router: Router) -> None:
    """HTTP, the stream, the log: the event has the bytes, and its id is answered."""
    async with (
        router.serving() as address,
        edge(address) as client,
        public(client) as http,
    ):
        answer = await call(http, "POST", "/hook/open/a?b=c", [JSON], b'{"a": 1}')

    [event] = router.log.appended
    assert answer.status == 200
    assert answer.headers["x-event-id"] == event.id
    assert answer.headers["x-request-id"] == event.request.request_id
    assert (event.request.path, event.request.query) == ("/a", "b=c")
    assert event.request.body == b'{"a": 1}'


async def test_refusals_of_the_router_are_the_edges(router: Router) -> None:
    """Status and headers are those of the same request in one process."""
    async with (
        router.serving() as address,
        edge(address) as client,
        public(client) as http,
    ):
        unknown = await call(http, "POST", "/hook/nobody", [JSON], b"1")
        method = await call(http, "GET", "/hook/open")

    assert (unknown.status, method.status) == (404, 405)
    assert method.headers["allow"] == "POST"


async def test_nobody_waits_for_the_slowest(router: Router) -> None:
    """A flow whose appends do not end holds no answer but its own."""
    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        router.log.hold("stuck")
        async with asyncio.TaskGroup() as tasks:
            stuck = tasks.create_task(client.receive(request("stuck")))
            await until(lambda: len(router.log.appended) == 1)
            assert_accepted(await send(client, 100))
            assert not stuck.done()
            router.log.release()

    assert_accepted([stuck.result()])


class Fake:
    """RouterService by hand, with what a test needs of it."""

    async def Receive(self, _requests: object, context: Context) -> None:  # noqa: N802
        """Open the stream."""
        await context.send_initial_metadata(())
        await self.answer(context)

    async def Upload(self, _requests: object, context: Context) -> None:  # noqa: N802
        """Not needed."""

    async def answer(self, _: Context) -> None:
        """Read nothing."""
        await asyncio.Event().wait()


class Counting(Fake):
    """Accepts everything, and keeps the sizes of frames."""

    def __init__(self) -> None:
        self.frames: list[int] = []

    async def answer(self, context: Context) -> None:
        """Answer frame by frame."""
        outcome = event_pb2.Outcome(accepted=event_pb2.Accepted(event_id="e"))
        while (frame := await context.read()) is not grpc.aio.EOF:
            self.frames.append(len(frame.requests))
            outcomes = [
                router_pb2.NumberedOutcome(number=one.number, outcome=outcome)
                for one in frame.requests
            ]
            await context.write(router_pb2.ReceiveResponse(outcomes=outcomes))


@asynccontextmanager
async def serving(fake: Any) -> AsyncIterator[str]:
    """Serve a fake while the block runs; gives the address."""
    server = grpc.aio.server()
    router_pb2_grpc.add_RouterServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_requests_that_arrive_together_travel_together() -> None:
    """Frames are few, and none is over its bound."""
    counting = Counting()
    async with serving(counting) as address, edge(address) as client:
        assert_accepted(await send(client, 1_200))

    assert sum(counting.frames) == 1_200
    assert max(counting.frames) == 512
    assert len(counting.frames) <= 6


async def test_what_was_not_written_goes_to_another_router(router: Router) -> None:
    """What a router has not been sent cannot be in its log."""
    body = body_of(60_000)
    async with (
        serving(Fake()) as deaf,
        router.serving() as address,
        edge(address, deaf, deadline_s=2.0) as client,
    ):
        await until(lambda: client.routers == 2)
        outcomes = await asyncio.gather(
            *(client.receive(request(body=body)) for _ in range(200))
        )

    accepted = [one for one in outcomes if one.accepted.event_id]
    assert 100 < len(accepted) < 200
    for outcome in outcomes:
        if outcome not in accepted:
            assert_unavailable(outcome)


async def test_a_late_outcome_is_dropped(router: Router) -> None:
    """At the deadline the answer is 503; what comes after it harms nobody."""
    async with router.serving() as address, edge(address, deadline_s=0.3) as client:
        await until(lambda: client.ready)
        router.log.hold("open")
        [late] = await send(client)
        router.log.release()
        again = await send(client, 10)

    assert_unavailable(late)
    assert_accepted(again)
    assert len(router.log.appended) == 11


async def test_a_router_that_is_gone_in_mid_request_is_503(router: Router) -> None:
    """Nobody knows whether the event is in the log; when it is back all is well."""
    async with AsyncExitStack() as process, asyncio.TaskGroup() as tasks:
        address = await process.enter_async_context(router.serving(stop_grace_s=0.0))
        async with edge(address) as client:
            await until(lambda: client.ready)
            router.log.hold("open")
            sent = tasks.create_task(client.receive(request()))
            await until(lambda: len(router.log.appended) == 1)
            await process.aclose()
            assert_unavailable(await sent)
            assert_unavailable(await client.receive(request()))
            router.log.release()

            async with router.serving(address):
                assert_accepted(await send(client, 10))

    assert len(router.log.appended) == 11


async def test_a_router_stops_under_load_without_a_failed_request(
    router: Router, other: Router
) -> None:
    """It answers what it was sent; the edge sends it nothing more."""
    outcomes: list[event_pb2.Outcome] = []

    async def load(client: RouterClient) -> None:
        outcomes.extend([await client.receive(request()) for _ in range(100)])

    async with AsyncExitStack() as process, other.serving() as staying:
        leaving = await process.enter_async_context(router.serving())
        async with edge(leaving, staying) as client, asyncio.TaskGroup() as tasks:
            await until(lambda: client.routers == 2)
            for _ in range(16):
                tasks.create_task(load(client))
            await until(lambda: len(router.log.appended) >= 50)
            await process.aclose()

    assert len(outcomes) == 1_600
    assert_accepted(outcomes)
    assert len(router.log.appended) + len(other.log.appended) == 1_600
    assert len(other.log.appended) > 50


async def test_a_silent_router_gets_nothing_until_it_answers(
    router: Router, other: Router
) -> None:
    """Its requests pass their deadline once; then the others get what comes."""
    async with (
        router.serving() as first,
        other.serving() as second,
        edge(first, second, deadline_s=1.0) as client,
    ):
        await until(lambda: client.routers == 2)
        router.log.hold("open")
        outcomes = await send(client, 2)
        assert_accepted(await send(client, 20))
        assert len(router.log.appended) == 1
        router.log.release()
        await until(lambda: client.routers == 2)
        assert_accepted(await send(client, 2))

    assert_unavailable(next(one for one in outcomes if one.HasField("rejected")))
    assert len(router.log.appended) == 2


@pytest.mark.parametrize("token", ["wrong", INSIDE_TOKEN])
async def test_a_wrong_token_is_told_with_the_setting(
    router: Router, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    """The stream is for the edge alone; its requests are 503."""
    said = ""

    def is_said() -> bool:
        nonlocal said
        said += "".join(capsys.readouterr())
        return "HOOKLINE_INGRESS__ROUTER_TOKEN" in said

    async with router.serving() as address, edge(address, token=token) as client:
        await until(is_said)
        outcome = await client.receive(request())

    assert not client.ready
    assert_unavailable(outcome)


async def test_the_edges_token_opens_nothing_else(router: Router) -> None:
    """PublishService is for internal services and their tokens."""
    metadata = (("authorization", f"Bearer {EDGE_TOKEN}"),)
    async with (
        router.serving() as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = publish_pb2_grpc.PublishServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Publish(publish_pb2.PublishRequest(), metadata=metadata)

    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_the_edge_refuses_at_once_what_is_too_much(router: Router) -> None:
    """Bytes in flight are bounded; when they are answered there is room again."""
    bound = 3 * request().ByteSize()
    async with (
        router.serving() as address,
        edge(address, most_bytes_in_flight=bound) as client,
    ):
        await until(lambda: client.ready)
        router.log.hold("open")
        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(client.receive(request())) for _ in range(3)]
            await until(lambda: len(router.log.appended) == 3)
            [too_much] = await send(client)
            router.log.release()
        again = await send(client, 3)

    assert_unavailable(too_much)
    assert_accepted([one.result() for one in sent])
    assert_accepted(again)


async def test_an_edge_that_floods_a_router_leaves_room_for_others(
    router: Router,
) -> None:
    """The router's bound refuses the one that holds most of it."""
    bound = 8 * request("stuck").ByteSize()
    async with (
        router.serving(most_bytes_in_flight=bound) as address,
        edge(address) as flooding,
        edge(address) as modest,
    ):
        await until(lambda: flooding.ready and modest.ready)
        router.log.hold("stuck")
        async with asyncio.TaskGroup() as tasks:
            sent = [
                tasks.create_task(flooding.receive(request("stuck"))) for _ in range(9)
            ]
            await until(lambda: sum(task.done() for task in sent) == 5)
            others = [(await send(modest))[0] for _ in range(10)]
            router.log.release()

    assert len(router.log.appended) == 4 + 10
    assert_accepted(others)
    refused = [task.result() for task in sent if task.result().HasField("rejected")]
    assert len(refused) == 5
    assert_unavailable(refused[0])


def body_of(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'


@pytest.mark.parametrize("size", [300_000, 400_000, 400_001])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_large_body_goes_after_its_head(
    router: Router, size: int, declared: bool
) -> None:
    """The flow's limit holds, whether or not the size is declared."""
    body = body_of(size)
    sent = request_bytes("POST", "/hook/open", [JSON], body)
    if not declared:
        head = [JSON, ("Transfer-Encoding", "chunked")]
        sent = request_bytes("POST", "/hook/open", head, None)
        sent += b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    async with (
        router.serving() as address,
        edge(address) as client,
        public(client) as http,
    ):
        answer = await call_raw(http, sent)

    if size > 400_000:
        assert answer.status == 413
        assert not router.log.appended
    else:
        assert answer.status == 200, answer
        assert router.log.appended[0].request.body == body


async def test_a_small_body_without_a_declared_size_goes_in_line(
    router: Router,
) -> None:
    """The edge reads it to its end first."""
    head = [JSON, ("Transfer-Encoding", "chunked")]
    sent = request_bytes("POST", "/hook/open", head, None)
    async with (
        router.serving() as address,
        edge(address) as client,
        public(client) as http,
    ):
        answer = await call_raw(http, sent + b"1\r\n7\r\n0\r\n\r\n")

    assert answer.status == 200
    assert router.log.appended[0].request.body == b"7"


async def test_a_declared_size_over_the_limit_is_refused_from_the_head(
    router: Router,
) -> None:
    """Not a byte of the body is read."""

    async def read_body(_limit: int, _count: Count = print, /) -> bytes:
        pytest.fail("the body was read")

    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        outcome = await client.upload(request(body=b""), 400_001, read_body)

    assert outcome.rejected.reason == event_pb2.REASON_TOO_LARGE


@pytest.mark.parametrize("declared", [9, 300_000])
async def test_a_body_that_breaks_off_leaves_nothing(
    router: Router, declared: int
) -> None:
    """In line or after its head; the verdict is the reader's."""

    async def read_body(_limit: int, _count: Count = print, /) -> bytes:
        raise Malformed("The body broke off.")

    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        outcome = await client.upload(request(body=b""), declared, read_body)
        assert_accepted(await send(client))

    assert outcome.rejected.reason == event_pb2.REASON_MALFORMED
    assert len(router.log.appended) == 1


async def test_bytes_of_a_body_count_as_they_come(router: Router) -> None:
    """A body that does not fit is 503 when it crosses the bound; then there is room."""

    async def read_body(_limit: int, count: Count = print, /) -> bytes:
        for _ in range(300):
            count(1_000)
        pytest.fail("nothing bounded it")

    async with (
        router.serving() as address,
        edge(address, most_bytes_in_flight=100_000) as client,
    ):
        await until(lambda: client.ready)
        outcome = await client.upload(request(body=b""), 300_000, read_body)
        assert_accepted(await send(client, 10))

    assert_unavailable(outcome)
