"""The router's health over gRPC follows what it needs."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.router.serve import Door, serve_grpc


async def test_health_follows_readiness() -> None:
    """Without a token; who watches it is told of each change."""
    ready = True
    statuses = health_pb2.HealthCheckResponse
    request = health_pb2.HealthCheckRequest()
    door = Door("127.0.0.1:0", tokens=("inner",))
    async with (
        serve_grpc(door, (), lambda: ready) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        first = await stub.Check(request)
        watched = stub.Watch(request)
        seen = [await watched.read()]
        ready = False
        seen.append(await watched.read())
        ready = True
        seen.append(await watched.read())
        watched.cancel()

    assert first.status == statuses.SERVING
    assert [one.status for one in seen] == [
        statuses.SERVING,
        statuses.NOT_SERVING,
        statuses.SERVING,
    ]
