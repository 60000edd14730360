"""Routers in the test's own loop: real gRPC, the embedded log, appends held at will."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hookline.body_store import open_body_store
from hookline.catalog import Catalog
from hookline.components import component_types
from hookline.flow_file import FlowFile
from hookline.log import Position, Topic
from hookline.log.sqlite import SqliteLog, open_log
from hookline.metrics import Metrics
from hookline.secrets import Secrets
from hookline.topics import Topics
from hookline.v1 import event_pb2
from services.ingress.router_client import RouterClient, Routers, connecting
from services.ingress.serve import Edge, serve_http
from services.router.applier import Applier
from services.router.decider import Decider
from services.router.flow_summaries import FlowSummaries
from services.router.receiver import Receiver
from services.router.registry import Registry
from services.router.router_service import MOST_BYTES_IN_FLIGHT, add_router
from services.router.serve import Door, router_services, serve_grpc
from services.router.upload_bound import MOST_UPLOAD_BYTES
from tests.stores import bodies_in

TOPICS = Topics.with_partitions(4)
EDGE_TOKEN = "edge"
INSIDE_TOKEN = "inside"
PATIENCE_S = 20.0
FLOW = """
id: {id}
trigger: {{webhook: {{max_body: 400kB, auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
FLOWS = tuple(FLOW.format(id=flow_id) for flow_id in ("open", "stuck"))


class HeldLog:
    """The embedded log; appends of a flow that is held wait until it is released."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._held: frozenset[bytes] = frozenset()
        self._waiting: list[tuple[asyncio.Future[Position], Topic, bytes, bytes]] = []
        self.appended: list[event_pb2.Event] = []
        self.faulty: frozenset[bytes] = frozenset()
        # How the next appends fail.
        self.refusal: Exception | None = None

    def hold(self, *flow_ids: str) -> None:
        """Hold the appends of flows from now on."""
        self._held = frozenset(flow_id.encode() for flow_id in flow_ids)

    def release(self) -> None:
        """Hold nothing any more; what was held is appended."""
        self._held = frozenset()
        waiting, self._waiting = self._waiting, []
        for future, topic, key, value in waiting:
            appended = self._log.append(topic, key, value)
            appended.add_done_callback(partial(_hand_on, future))

    def fail(self, number: int, error: Exception) -> None:
        """Fail one of the appends that are held, by its number."""
        future, *_ = self._waiting.pop(number)
        future.set_exception(error)

    def append(
        self, topic: Topic, key: bytes, value: bytes | None
    ) -> asyncio.Future[Position]:
        assert value is not None
        if key in self.faulty:
            raise RuntimeError("a fault of the log")
        if topic.name == "events":
            self.appended.append(event_pb2.Event.FromString(value))
        if self.refusal is not None and topic.name == "events":
            failed: asyncio.Future[Position] = (
                asyncio.get_running_loop().create_future()
            )
            failed.set_exception(self.refusal)
            return failed
        if key not in self._held:
            return self._log.append(topic, key, value)
        future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, topic, key, value))
        return future

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def _hand_on(
    future: asyncio.Future[Position], appended: asyncio.Future[Position]
) -> None:
    if not future.done():
        future.set_result(appended.result())


class Router:
    """A router: its receiver, its log, and ports that come and go."""

    def __init__(self, receiver: Receiver, log: HeldLog, services: Any) -> None:
        self.receiver = receiver
        self.log = log
        self._services = services

    @asynccontextmanager
    async def serving(
        self,
        address: str = "127.0.0.1:0",
        *,
        stop_grace_s: float = 5.0,
        most_bytes_in_flight: int = MOST_BYTES_IN_FLIGHT,
        most_upload_bytes: int = MOST_UPLOAD_BYTES,
    ) -> AsyncIterator[str]:
        """Serve gRPC while the block runs; gives the address."""
        door = Door(
            address,
            [INSIDE_TOKEN],
            edge_tokens=[EDGE_TOKEN],
            stop_grace_s=stop_grace_s,
        )
        add = partial(
            add_router,
            self.receiver,
            most_bytes_in_flight=most_bytes_in_flight,
            most_upload_bytes=most_upload_bytes,
        )
        async with serve_grpc(door, (*self._services, add)) as port:
            yield f"127.0.0.1:{port}"


@asynccontextmanager
async def routing(
    directory: Path,
    *flows: str,
    bodies: str | None = "",
    environment: Mapping[str, str] | None = None,
    most_pending_bytes: int = 64 * 1024 * 1024,
) -> AsyncIterator[Router]:
    """A router with these flow files, on a log of its own.

    Large bodies go to the store at the URL `bodies`: by default a directory beside the
    log, with None nowhere.
    """
    bodies = bodies_in(directory).as_uri() if bodies == "" else bodies
    store = open_body_store(bodies) if bodies else None
    secrets = Secrets(environment or {}, None)
    async with AsyncExitStack() as stack:
        opening = open_log(directory, TOPICS.all, most_pending_bytes=most_pending_bytes)
        log = await stack.enter_async_context(opening)
        catalog = Catalog(log, TOPICS)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        following = tasks.create_task(catalog.run())
        stack.callback(following.cancel)
        await catalog.wait_caught_up()
        registry = Registry(catalog, secrets, "")
        applier = Applier(catalog, log, TOPICS, secrets, component_types())
        read, mistakes = applier.check(
            [FlowFile(f"{n}.yaml", flow.encode()) for n, flow in enumerate(flows)]
        )
        assert not mistakes, mistakes
        await applier.apply(read)
        held = HeldLog(log)
        receiver = Receiver(registry, held, TOPICS, Metrics(), body_store=store)
        decider = Decider(catalog, log, TOPICS)
        summaries = FlowSummaries(catalog, registry, secrets)
        services = router_services(receiver, applier, decider, summaries)
        yield Router(receiver, held, services)


@asynccontextmanager
async def edge(
    *addresses: str,
    token: str = EDGE_TOKEN,
    deadline_s: float = 5.0,
    most_bytes_in_flight: int = 64 * 1024 * 1024,
) -> AsyncIterator[RouterClient]:
    """A client of the routers at these addresses, as if one name had them all."""

    async def resolve() -> tuple[str, ...]:
        return addresses

    routers = Routers("router:50052", token, deadline_s, most_bytes_in_flight)
    async with connecting(routers, resolve) as client:
        yield client


@asynccontextmanager
async def public(client: RouterClient) -> AsyncIterator[str]:
    """The public port before a client, once it is ready; gives the address."""
    await until(lambda: client.ready)
    async with serve_http(Edge("127.0.0.1", 0), client) as port:
        yield f"127.0.0.1:{port}"


async def until(condition: Callable[[], bool]) -> None:
    """Return when a condition holds; fail where it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


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


def body_of(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'
