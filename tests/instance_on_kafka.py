"""The line as it stands on Kafka, in the test's own loop: each service with its own way.

Edge and router talk over gRPC, the log is a real Kafka; what a test sees is the same as of
an instance on the embedded log.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from hookline.body_store import open_body_store
from hookline.catalog import Catalog
from hookline.cli.console import showing
from hookline.cli.executor import running_executor
from hookline.cli.flow_directory import FlowDirectory
from hookline.cli.hosting import Hosted, Options
from hookline.cli.readiness import Readiness
from hookline.cli.router import edge_service, internal_services, routing_of
from hookline.cli.wiring import Shared, following, secrets_of
from hookline.components import component_types
from hookline.log.kafka import Cluster, Durability, create_topics, open_log
from hookline.metrics import Metrics
from hookline.settings import Settings
from hookline.topics import Topics
from services.executor.serve import GROUP
from services.ingress.router_client import Routers, connecting
from services.ingress.serve import Edge, serve_http
from services.router.serve import Door, serve_grpc
from tests.instance import LOOPBACK_ALLOWED, Ends, Instance, running
from tests.stores import bodies_in
from tests.waiting import until

ONE = Durability(replication=1, min_insync=1)
TOPICS = Topics.with_partitions(4)
TOKEN, EDGE_TOKEN = "inner", "edge"
Opening = Callable[..., AbstractAsyncContextManager[Instance]]


@pytest.fixture(scope="module")
def kafka_log(kafka_servers: tuple[str, ...]) -> Cluster:
    """Topics of a test module's own."""
    cluster = Cluster(kafka_servers, prefix=f"{uuid.uuid4().hex}.")
    asyncio.run(create_topics(cluster, TOPICS.all, ONE, groups={GROUP: TOPICS.events}))
    return cluster


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def open_instance(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """How an instance is run with flow files and an environment, on each of the logs."""
    if request.param == "sqlite":
        return lambda *flows, **more: running(tmp_path, *flows, **more)
    cluster = request.getfixturevalue("kafka_log")
    return lambda *flows, **more: running_on_kafka(cluster, tmp_path, *flows, **more)


@asynccontextmanager
async def running_on_kafka(
    cluster: Cluster,
    directory: Path,
    *flows: str,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Instance]:
    """Run the services with these flow files, on ports that are free."""
    environment = {**LOOPBACK_ALLOWED, **(environment or {})}
    ends = Ends()
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            open_log(cluster, TOPICS.all, durability=ONE, session_timeout_s=6.0)
        )
        shared = Shared(
            Settings.read(environment),
            secrets_of(environment),
            TOPICS,
            Metrics(router=None, executor=None),
            log,
            Catalog(log, TOPICS),
            component_types(),
            open_body_store(bodies_in(directory).as_uri()),
        )
        hosted = await _open(stack, shared, ends, directory)
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(hosted.grpc)
        )
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        instance = Instance(hosted, metadata, channel, ends)
        answer = await instance.apply(*flows)
        assert not answer.mistakes, answer.mistakes
        yield instance


async def _open(
    stack: AsyncExitStack, shared: Shared, ends: Ends, directory: Path
) -> Hosted:
    """Open router, executor and ingress, each as its own process would."""
    routing = routing_of(shared)
    await stack.enter_async_context(following(shared, Readiness()))
    await stack.enter_async_context(running_executor(shared, ends.take))
    door = Door("127.0.0.1:0", [TOKEN], edge_tokens=[EDGE_TOKEN])
    history = await stack.enter_async_context(showing(shared, directory / "index"))
    services = (
        edge_service(shared, routing),
        *internal_services(shared, routing),
        history,
    )
    port = await stack.enter_async_context(serve_grpc(door, services, lambda: True))
    address = f"127.0.0.1:{port}"
    client = await stack.enter_async_context(connecting(Routers(address, EDGE_TOKEN)))
    await until(lambda: client.ready)
    public = await stack.enter_async_context(serve_http(Edge("127.0.0.1", 0), client))
    flows = FlowDirectory(directory / "no-flows", routing.applier, routing.registry)
    return Hosted(
        Options(directory, flows.path, "", "", ""),
        http=f"127.0.0.1:{public}",
        grpc=address,
        admin="",
        directory=flows,
        log=shared.log,
        topics=shared.topics,
    )
