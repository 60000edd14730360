"""Bodies on their way to a router, and how many bytes both ends hold at most."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from hookline.errors import Error, Malformed, NotAppended, TooLarge, Unavailable
from hookline.shares import OVERHEAD_BYTES
from hookline.v1 import event_pb2
from services.ingress.router_client import RouterClient
from services.router import byte_bound as router_bound
from tests.caller import call_raw, request_bytes
from tests.instance import JSON
from tests.routers import (
    FLOWS,
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
from tests.stores import bodies_in, kept


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path, *FLOWS) as router:
        yield router


@pytest.mark.parametrize("size", [300_000, 400_000, 400_001])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_large_body_goes_after_its_head(
    router: Router, tmp_path: Path, size: int, declared: bool
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
        assert not kept(bodies_in(tmp_path))
    else:
        assert answer.status == 200, answer
        stored = router.log.appended[0].request.stored_body
        assert (bodies_in(tmp_path) / stored.name).read_bytes() == body
        assert (stored.size, stored.sha256) == (size, sha256(body).digest())


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


@pytest.mark.parametrize("more", [0, 1])
async def test_256_kib_go_in_line_and_one_byte_more_does_not(
    router: Router, tmp_path: Path, more: int
) -> None:
    """In pieces that end at the border, as in one."""
    pieces = [body_of(200_000)[:-1], b"x" * (62_144 + more), b'"', b""]

    async def read(_room: int, /) -> bytes:
        return pieces.pop(0)

    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        outcome = await client.upload(request(body=b""), None, read)

    assert_accepted([outcome])
    [event] = router.log.appended
    assert event.request.HasField("stored_body") == bool(more)
    assert len(kept(bodies_in(tmp_path))) == more


async def test_a_verdict_in_mid_body_does_not_wait_for_the_sender(
    router: Router,
) -> None:
    """What comes after it is nobody's business: this sender sends nothing more."""
    pieces = [body_of(300_000)] * 2

    async def read(_room: int, /) -> bytes:
        return pieces.pop(0) if pieces else await asyncio.Future()

    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        async with asyncio.timeout(10):
            outcome = await client.upload(request(body=b""), None, read)

    assert outcome.rejected.reason == event_pb2.REASON_TOO_LARGE


@pytest.mark.parametrize(
    ("refusal", "stay"),
    [
        (TooLarge("The record is too large."), 0),
        (NotAppended("It is full."), 0),
        (Unavailable("It is away."), 1),
    ],
)
async def test_a_body_stays_if_its_event_may_be_in_the_log(
    router: Router, tmp_path: Path, refusal: Error, stay: int
) -> None:
    """Where the append is refused it is not; where it is unknown, it may be."""
    pieces = [body_of(300_000), b""]

    async def read(_room: int, /) -> bytes:
        return pieces.pop(0)

    router.log.refusal = refusal
    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        outcome = await client.upload(request(body=b""), 300_000, read)

    assert outcome.rejected.detail == str(refusal)
    assert len(kept(bodies_in(tmp_path))) == stay


async def test_a_router_without_a_store_refuses_what_it_could_not_keep(
    tmp_path: Path,
) -> None:
    """From its declared size, or when it crosses 256 KiB; it is said what is missing."""
    async with (
        routing(tmp_path, *FLOWS, bodies=None) as router,
        router.serving() as address,
        edge(address) as client,
    ):
        await until(lambda: client.ready)
        for declared in (262_145, None):
            pieces = [body_of(262_145), b""]

            async def read(_room: int, /, pieces: list[bytes] = pieces) -> bytes:
                return pieces.pop(0)

            outcome = await client.upload(request(body=b""), declared, read)

            assert outcome.rejected.reason == event_pb2.REASON_TOO_LARGE
            assert "HOOKLINE_BODIES__STORE" in outcome.rejected.detail
    assert not router.log.appended


async def test_a_declared_size_over_the_limit_is_refused_from_the_head(
    router: Router,
) -> None:
    """Not a byte of the body is read."""

    async def read(_room: int, /) -> bytes:
        pytest.fail("the body was read")

    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        outcome = await client.upload(request(body=b""), 400_001, read)

    assert outcome.rejected.reason == event_pb2.REASON_TOO_LARGE


@pytest.mark.parametrize("declared", [9, 300_000])
async def test_a_body_that_breaks_off_leaves_nothing(
    router: Router, declared: int
) -> None:
    """In line or after its head; the verdict is the reader's."""

    async def read(_room: int, /) -> bytes:
        raise Malformed("The body broke off.")

    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        outcome = await client.upload(request(body=b""), declared, read)
        assert_accepted(await send(client))

    assert outcome.rejected.reason == event_pb2.REASON_MALFORMED
    assert len(router.log.appended) == 1


@pytest.mark.parametrize("stop_grace_s", [0.0, 5.0], ids=["killed", "stopping"])
async def test_a_router_that_goes_in_mid_body(
    router: Router, stop_grace_s: float
) -> None:
    """Killed, the outcome is 503; one that stops waits for what it has begun."""
    async with AsyncExitStack() as process, asyncio.TaskGroup() as tasks:
        address = await process.enter_async_context(
            router.serving(stop_grace_s=stop_grace_s)
        )

        pieces = [body_of(300_000), b""]

        async def read(_room: int, /) -> bytes:
            if len(pieces) > 1:
                closing = tasks.create_task(process.aclose())
                await until(lambda: not client.ready)
                if not stop_grace_s:
                    await closing
            return pieces.pop(0)

        async with edge(address) as client:
            await until(lambda: client.ready)
            outcome = await client.upload(request(body=b""), 300_000, read)

    if stop_grace_s:
        assert_accepted([outcome])
    else:
        assert_unavailable(outcome)


async def test_an_edge_that_goes_in_mid_body_leaves_nothing(
    router: Router, tmp_path: Path
) -> None:
    """Its router sees the call end, and deletes what it has written."""
    pieces = [b"x" * 190_000] * 2
    head = request("open", b"")
    head.headers[0].value = b"application/octet-stream"

    async def read(_room: int, /) -> bytes:
        return pieces.pop(0) if pieces else await asyncio.Future()

    async with router.serving() as address, asyncio.TaskGroup() as tasks:
        async with edge(address) as client:
            await until(lambda: client.ready)
            sending = tasks.create_task(client.upload(head, None, read))
            await until(lambda: not pieces)
        outcome = await sending
        await until(lambda: not kept(bodies_in(tmp_path)))

    assert_unavailable(outcome)
    assert not router.log.appended


async def test_bytes_of_a_body_count_while_they_are_in_hand(router: Router) -> None:
    """A piece that does not fit is 503; all the pieces before it had the same room."""
    whole = body_of(350_000)
    small = [whole[at : at + 50_000] for at in range(0, 350_000, 50_000)]
    pieces = [*small, b"", *small, b"x" * 300_000, b""]

    async def read(_room: int, /) -> bytes:
        return pieces.pop(0)

    async with (
        router.serving() as address,
        edge(address, most_bytes_in_flight=1_200_000) as client,
    ):
        await until(lambda: client.ready)
        assert_accepted([await client.upload(request(body=b""), 350_000, read)])
        outcome = await client.upload(request(body=b""), 350_000, read)
        assert_accepted(await send(client, 10))

    assert_unavailable(outcome)
    assert pieces == [b""]


async def test_the_edge_refuses_at_once_what_is_too_much(router: Router) -> None:
    """Bytes in flight are bounded; when they are answered there is room again."""
    bound = 3 * (request().ByteSize() + OVERHEAD_BYTES)
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


@pytest.mark.security("S13")
@pytest.mark.parametrize("declared", [60_000, None, 350_000])
async def test_bodies_that_do_not_end_leave_room_at_the_edge(
    router: Router, declared: int | None
) -> None:
    """S13: for what is here as a whole, and for other senders' bodies on their way."""

    def halting() -> Callable[[int], Awaitable[bytes]]:
        pieces = [b"x" * 50_000]

        async def read(_room: int, /) -> bytes:
            return pieces.pop(0) if pieces else await asyncio.Future()

        return read

    pieces = [body_of(50_000), b""]

    async def read(_room: int, /) -> bytes:
        return pieces.pop(0)

    async with (
        router.serving() as address,
        edge(address, most_bytes_in_flight=2_000_000) as client,
    ):
        await until(lambda: client.ready)
        async with asyncio.TaskGroup() as tasks:
            many = [
                tasks.create_task(
                    client.upload(from_address("192.0.2.1"), declared, halting())
                )
                for _ in range(100)
            ]
            await until(lambda: sum(one.done() for one in many) > 80)
            other = request(body=b"")
            other.remote = "192.0.2.2"
            on_its_way = await client.upload(other, 50_000, read)
            whole = await send(client, 20)
            for one in many:
                one.cancel()

    assert_accepted([on_its_way, *whole])


async def test_an_edge_that_floods_a_router_leaves_room_for_others(
    router: Router,
) -> None:
    """The router's bound refuses the one that holds most of it."""
    bound = 8 * (request("stuck").ByteSize() + router_bound.OVERHEAD_BYTES)
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


def from_address(remote: str) -> event_pb2.Request:
    """The head of a file."""
    head = request(body=b"")
    head.headers[0].value = b"application/octet-stream"
    head.remote = remote
    return head


@pytest.mark.parametrize("declared", [350_000, None], ids=["declared", "chunked"])
@pytest.mark.parametrize("kind", [b"application/octet-stream", b"application/json"])
async def test_large_bodies_that_come_at_once_take_turns(
    router: Router, declared: int | None, kind: bytes
) -> None:
    """There is room for few of them; none is refused in its middle, or at all."""
    body = body_of(350_000)

    async def upload(client: RouterClient) -> event_pb2.Outcome:
        pieces = [body[at : at + 70_000] for at in range(0, 350_000, 70_000)] + [b""]

        async def read(_room: int, /) -> bytes:
            return pieces.pop(0)

        head = from_address("192.0.2.1")
        head.headers[0].value = kind
        return await client.upload(head, declared, read)

    async with (
        router.serving(most_upload_bytes=4_000_000) as address,
        edge(address) as client,
    ):
        await until(lambda: client.ready)
        outcomes = await asyncio.gather(*(upload(client) for _ in range(20)))

    assert_accepted(outcomes)


async def test_bodies_that_stall_leave_room_for_others_and_for_small_ones(
    router: Router,
) -> None:
    """One address holds all that it can get; more of it is refused from its head."""
    stalled = asyncio.Event()
    read_of_more = 0

    async def stall(_room: int, /) -> bytes:
        nonlocal read_of_more
        read_of_more += 1
        await stalled.wait()
        raise Malformed("The body broke off.")

    pieces = [b"x" * 350_000, b""]

    async def read(_room: int, /) -> bytes:
        return pieces.pop(0)

    async with (
        router.serving(most_upload_bytes=4_000_000) as address,
        edge(address) as client,
    ):
        await until(lambda: client.ready)
        async with asyncio.TaskGroup() as tasks:
            first = [
                tasks.create_task(
                    client.upload(from_address("192.0.2.1"), 350_000, stall)
                )
                for _ in range(10)
            ]
            await until(lambda: read_of_more == 2)
            other = await client.upload(from_address("192.0.2.2"), 350_000, read)
            small = await send(client, 20)
            await until(lambda: sum(one.done() for one in first) == 8)
            stalled.set()

    assert_accepted([other, *small])
    assert read_of_more == 2
    refused = [one.result().rejected.reason for one in first]
    assert refused.count(event_pb2.REASON_UNAVAILABLE) == 8
