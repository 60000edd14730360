"""Passes what is asked of events on to the console, so that callers know one address.

Calls go on as they are, with their callers' token and the rest of their deadline; so do
answers and refusals.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from hookline.v1 import execution_pb2

SERVICE: Final = execution_pb2.DESCRIPTOR.services_by_name["ExecutionService"]
UNNAMED: Final = (
    "This router knows no console: start one (`hookline console`) and set "
    "HOOKLINE_ROUTER__CONSOLE to its HOST:PORT, or ask the console itself."
)
AWAY: Final = "The console does not answer at {address}: see whether it runs."
Context = grpc.aio.ServicerContext[Any, Any]
Add = Callable[[grpc.aio.Server], str]


class _Forwarding:
    """Calls of one method of the console."""

    def __init__(self, channel: grpc.aio.Channel, address: str, method: str) -> None:
        self._address = address
        self._one: Any = channel.unary_unary(method)
        self._many: Any = channel.unary_stream(method)

    async def answer(self, request: bytes, context: Context) -> Any:
        """The one answer."""
        try:
            return await self._one(request, **_as_asked(context))
        except grpc.aio.AioRpcError as error:
            await self._abort(error, context)

    async def stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Each of many answers."""
        try:
            async for answer in self._many(request, **_as_asked(context)):
                yield answer
        except grpc.aio.AioRpcError as error:
            await self._abort(error, context)

    async def _abort(self, error: grpc.aio.AioRpcError, context: Context) -> None:
        details = error.details() or ""
        if error.code() == grpc.StatusCode.UNAVAILABLE and "connect" in details:
            details = AWAY.format(address=self._address)
        await context.abort(error.code(), details)


def _as_asked(context: Context) -> dict[str, Any]:
    metadata = [
        (name, value)
        for name, value in context.invocation_metadata() or ()
        if name == "authorization"
    ]
    return {"metadata": metadata, "timeout": context.time_remaining()}


async def _refuse(_request: bytes, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, UNNAMED)


async def _refuse_stream(_request: bytes, context: Context) -> AsyncIterator[bytes]:
    await _refuse(_request, context)
    yield b""


@asynccontextmanager
async def forwarding_to(address: str) -> AsyncIterator[Add]:
    """What adds ExecutionService to a server: the console's, at an address.

    Without an address it answers that there is none.
    """
    if not address:
        yield lambda server: _add(server, lambda _: (_refuse, _refuse_stream))
        return
    async with grpc.aio.insecure_channel(address) as channel:

        def forwarding(method: str) -> tuple[Any, Any]:
            one = _Forwarding(channel, address, method)
            return one.answer, one.stream

        yield lambda server: _add(server, forwarding)


def _add(server: grpc.aio.Server, handlers_of: Callable[[str], tuple[Any, Any]]) -> str:
    name = SERVICE.full_name
    handlers: dict[str, Any] = {}
    for method in SERVICE.methods:
        answer, stream = handlers_of(f"/{name}/{method.name}")
        handlers[method.name] = (
            grpc.unary_stream_rpc_method_handler(stream)
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler(answer)
        )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(name, handlers),)
    )
    return str(name)
