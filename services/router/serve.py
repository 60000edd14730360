"""The router's gRPC server: PublishService, FlowService, health, reflection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from hookline.bearer import BearerTokens
from hookline.errors import BadConfiguration
from hookline.v1 import flow_pb2, flow_pb2_grpc, publish_pb2, publish_pb2_grpc
from services.router.applier import Applier
from services.router.decider import Decider
from services.router.flow_service import FlowServicer
from services.router.flow_summaries import FlowSummaries
from services.router.publish_service import PublishServicer
from services.router.receiver import Receiver

MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024
STOP_GRACE_S = 5.0
EDGE_SERVICE = "hookline.v1.RouterService"
LOOK_S = 0.1
Add = Callable[[grpc.aio.Server], str]


@dataclass(frozen=True, slots=True)
class Door:
    """How the gRPC port is opened."""

    address: str
    tokens: Sequence[str]
    reflection: bool = False
    edge_tokens: Sequence[str] = ()
    stop_grace_s: float = STOP_GRACE_S


def router_services(
    receiver: Receiver, applier: Applier, decider: Decider, summaries: FlowSummaries
) -> tuple[Add, ...]:
    """What the router adds to a server; each returns its service's full name."""

    def add_publish(server: grpc.aio.Server) -> str:
        publish_pb2_grpc.add_PublishServiceServicer_to_server(
            PublishServicer(receiver), server
        )
        return publish_pb2.DESCRIPTOR.services_by_name["PublishService"].full_name

    def add_flows(server: grpc.aio.Server) -> str:
        flow_pb2_grpc.add_FlowServiceServicer_to_server(
            FlowServicer(applier, decider, summaries), server
        )
        return flow_pb2.DESCRIPTOR.services_by_name["FlowService"].full_name

    return add_publish, add_flows


@asynccontextmanager
async def serve_grpc(
    door: Door, services: Sequence[Add], ready: Callable[[], bool] = lambda: True
) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port. Raises BadConfiguration.

    The health of the services follows `ready`; at the end no call is taken any more, and
    those that were taken are answered within a limit.
    """
    server = grpc.aio.server(
        interceptors=[BearerTokens(door.tokens, {EDGE_SERVICE: door.edge_tokens})],
        options=[
            ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
            ("grpc.so_reuseport", 0),
            # Edges ask often whether the router is there; that is no abuse.
            ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
            # An edge that has gone without a word is noticed.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ],
    )
    names = [add(server) for add in services]
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if door.reflection:
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    port = _bind(server, door.address)
    await server.start()
    async with _telling_health(servicer, ("", *names), ready):
        try:
            yield port
        finally:
            await servicer.enter_graceful_shutdown()
            await server.stop(door.stop_grace_s)


@asynccontextmanager
async def _telling_health(
    servicer: Any, names: Sequence[str], ready: Callable[[], bool]
) -> AsyncIterator[None]:
    """Say of each service whether it serves, while the block runs."""

    async def tell(*, serves: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if serves else statuses.NOT_SERVING
        for name in names:
            await servicer.set(name, status)

    async def look() -> None:
        told: bool | None = None
        while True:
            if (serves := ready()) != told:
                told = serves
                await tell(serves=serves)
            await asyncio.sleep(LOOK_S)

    await tell(serves=ready())
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(look())
        try:
            yield
        finally:
            looking.cancel()


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise BadConfiguration(
            f"cannot listen on {address} for gRPC: is it taken, or not an address of "
            "this machine? Stop what listens there, or choose another with --grpc."
        ) from error
