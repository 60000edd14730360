"""The router's health over gRPC follows what it needs."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.router.serve import Door, serve_grpc
from tests.processes import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_follows_readiness_and_ends_with_the_stop() -> None:
    """Without a token: who watches it is told of each change."""
    ready = True
    door = Door("127.0.0.1:0", tokens=("inner",))
    async with serve_grpc(door, (), lambda: ready) as port:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            async def status() -> int:
                answer = await stub.Check(health_pb2.HealthCheckRequest())
                return int(answer.status)

            async def is_down() -> bool:
                return await status() == NOT_SERVING

            assert await status() == SERVING
            ready = False
            await until(is_down)
            ready = True
            watched = stub.Watch(health_pb2.HealthCheckRequest())
            while (await watched.read()).status != SERVING:
                continue
            ready = False
            async with asyncio.timeout(10):
                last = await watched.read()

    assert last.status == NOT_SERVING
