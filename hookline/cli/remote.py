"""Talking to a running instance: the channel, the token, refusals as exit codes."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hookline.cli.options import TOKEN_FILE, data_directory

TIMEOUT_S = 30.0
EXIT_CODES = {
    grpc.StatusCode.NOT_FOUND: 3,
    grpc.StatusCode.UNAUTHENTICATED: 4,
    grpc.StatusCode.PERMISSION_DENIED: 4,
    grpc.StatusCode.ALREADY_EXISTS: 5,
    grpc.StatusCode.UNAVAILABLE: 69,
    grpc.StatusCode.DEADLINE_EXCEEDED: 69,
}
UNAUTHENTICATED_TEXT = (
    "the token is missing or wrong: set HOOKLINE_TOKEN, or run where the instance's data "
    "directory is (HOOKLINE_DATA)."
)
Metadata = tuple[tuple[str, str], ...]
Use = Callable[[grpc.aio.Channel, Metadata], Awaitable[Any]]


def call(router: str, token: str, use: Use) -> Any:
    """Open a channel, use it, and turn refusals into a sentence and an exit code."""
    try:
        return asyncio.run(_call(router, _metadata(token), use))
    except grpc.aio.AioRpcError as error:
        _leave(router, error)
    except KeyboardInterrupt:
        sys.exit(130)


def check_health(router: str, token: str) -> str:
    """Ask for the health of an instance."""

    async def ask(channel: grpc.aio.Channel, _metadata: Metadata) -> str:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    return str(call(router, token, ask)).lower()


async def _call(router: str, metadata: Metadata, use: Use) -> Any:
    async with grpc.aio.insecure_channel(router) as channel:
        return await use(channel, metadata)


def _metadata(token: str) -> Metadata:
    token = (token or _token_of_file()).strip()
    if not (token.isascii() and token.isprintable()):
        _exit(UNAUTHENTICATED_TEXT, 4)
    return (("authorization", f"Bearer {token}"),) if token else ()


def _token_of_file() -> str:
    try:
        return (data_directory() / TOKEN_FILE).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _leave(router: str, error: grpc.aio.AioRpcError) -> NoReturn:
    status = error.code()
    match status:
        case grpc.StatusCode.UNAVAILABLE if "failed to connect" in (
            error.details() or ""
        ):
            text = f"nothing answers at {router}: start it with `hookline up`, or name "
            text += "another with --router."
        case grpc.StatusCode.UNAUTHENTICATED:
            text = UNAUTHENTICATED_TEXT
        case _:
            text = error.details() or str(status)
    _exit(text, EXIT_CODES.get(status, 1))


def _exit(text: str, code: int) -> NoReturn:
    print(f"hookline: {text}", file=sys.stderr)  # noqa: T201 - talk on stderr
    sys.exit(code)
