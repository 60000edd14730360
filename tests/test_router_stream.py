"""Stop 2: the edge's stream to its routers, and what becomes of requests when it breaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from hookline.bearer import BearerTokens
from hookline.errors import BadConfiguration
from hookline.v1 import (
    event_pb2,
    publish_pb2,
    publish_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
)
from services.ingress.addresses import resolver
from services.ingress.router_client import RouterClient
from tests.caller import call
from tests.instance import JSON
from tests.routers import (
    EDGE_TOKEN,
    FLOWS,
    INSIDE_TOKEN,
    Router,
    assert_accepted,
    assert_unavailable,
    body_of,
    edge,
    public,
    request,
    routing,
    send,
    until,
)

Context = grpc.aio.ServicerContext[Any, Any]


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path / "one", *FLOWS) as router:
        yield router


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path / "other", *FLOWS) as router:
        yield router


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


async def test_a_fault_in_one_request_is_503_and_its_own(
    router: Router, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stream goes on for the others; the fault is in the router's lines."""
    router.log.faulty = frozenset([b"stuck"])
    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        faulty, *others = await asyncio.gather(
            client.receive(request("stuck")),
            *(client.receive(request()) for _ in range(10)),
        )

    assert_unavailable(faulty)
    assert_accepted(others)
    assert "a fault of the log" in capsys.readouterr().out


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
        assert_accepted(await send(client, 150))

    assert sum(counting.frames) == 150
    assert max(counting.frames) == 64
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
    assert "in time" in late.rejected.detail
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
    router: Router, other: Router, capsys: pytest.CaptureFixture[str]
) -> None:
    """It answers what it was sent; the edge sends it nothing more, and ends the stream."""
    outcomes: list[event_pb2.Outcome] = []
    stopped = asyncio.Event()

    async def load(client: RouterClient) -> None:
        while not stopped.is_set():
            outcomes.append(await client.receive(request()))

    async with AsyncExitStack() as process, other.serving() as staying:
        leaving = await process.enter_async_context(router.serving(stop_grace_s=2.0))
        async with edge(leaving, staying) as client, asyncio.TaskGroup() as tasks:
            await until(lambda: client.routers == 2)
            for _ in range(16):
                tasks.create_task(load(client))
            await until(lambda: len(router.log.appended) >= 50)
            await process.aclose()
            stopped.set()

    assert_accepted(outcomes)
    assert len(router.log.appended) + len(other.log.appended) == len(outcomes)
    assert len(other.log.appended) > len(outcomes) / 2
    assert "router.stopped" in capsys.readouterr().out


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


async def test_a_name_stands_for_all_its_addresses() -> None:
    """The system's resolver is asked; the port is kept."""
    addresses = await resolver("localhost:50052")()

    assert "127.0.0.1:50052" in addresses or "[::1]:50052" in addresses


@pytest.mark.parametrize("target", ["router", ":50052", "router:"])
def test_a_target_is_a_host_and_a_port(target: str) -> None:
    """Anything else is said at the start."""
    with pytest.raises(BadConfiguration, match="HOST:PORT"):
        resolver(target)


async def test_every_kind_of_call_needs_a_token() -> None:
    """Whether requests or responses are streamed: UNAUTHENTICATED, not a fault."""
    server = grpc.aio.server(interceptors=[BearerTokens(["t"], {"of.Edge": ["e"]})])
    handlers: dict[str, Any] = {
        "A": grpc.unary_unary_rpc_method_handler(_never),
        "B": grpc.unary_stream_rpc_method_handler(_never),
        "C": grpc.stream_unary_rpc_method_handler(_never),
        "D": grpc.stream_stream_rpc_method_handler(_never),
    }
    server.add_registered_method_handlers("of.Edge", handlers)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("of.Edge", handlers)]
    )
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    metadata = (("authorization", "Bearer t"),)
    channel: Any
    async with grpc.aio.insecure_channel(address) as channel:
        calls: list[Any] = [
            channel.unary_unary("/of.Edge/A")(b"", metadata=metadata),
            channel.unary_stream("/of.Edge/B")(b"", metadata=metadata),
            channel.stream_unary("/of.Edge/C")(iter(()), metadata=metadata),
            channel.stream_stream("/of.Edge/D")(iter(()), metadata=metadata),
        ]
        codes = [await one.code() for one in calls]
    await server.stop(None)

    assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}


async def _never(_request: object, _context: object) -> bytes:
    pytest.fail("it was let in")
