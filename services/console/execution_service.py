"""ExecutionService over gRPC: shows events and what became of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from hookline.errors import Unavailable
from hookline.v1 import execution_pb2, execution_pb2_grpc
from services.console.history import History, summary_of

Context = grpc.aio.ServicerContext[Any, Any]
DEFAULT_LIMIT = 20
MOST = 1000


class ExecutionServicer(execution_pb2_grpc.ExecutionServiceServicer):
    """Translates between gRPC and the history."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def ListEvents(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.ListEventsRequest, context: Context
    ) -> execution_pb2.ListEventsResponse:
        """The newest events, newest first."""
        limit = min(request.limit or DEFAULT_LIMIT, MOST)
        async with _answering(context):
            found = await self._history.newest(request.flow_id, limit)
        return execution_pb2.ListEventsResponse(events=map(summary_of, found))

    async def GetEvent(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.GetEventRequest, context: Context
    ) -> execution_pb2.GetEventResponse:
        """One event with everything that is known of it."""
        async with _answering(context):
            found = await self._history.find(request.event_id)
            why = "" if found else await self._history.why_missing(request.event_id)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, why)
        return execution_pb2.GetEventResponse(
            summary=summary_of(found), event=found.event
        )

    async def TailEvents(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.TailEventsRequest, context: Context
    ) -> AsyncIterator[execution_pb2.TailEventsResponse]:
        """Events and their ends as they come."""
        async with _answering(context):
            async for summary in self._history.tail(request.flow_id):
                yield execution_pb2.TailEventsResponse(event=summary)


@asynccontextmanager
async def _answering(context: Context) -> AsyncIterator[None]:
    """A log that cannot be read is the caller's UNAVAILABLE; asking again is safe."""
    try:
        yield
    except Unavailable as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))


def add_executions(history: History, server: grpc.aio.Server) -> str:
    """Add the service to a server; gives its full name."""
    execution_pb2_grpc.add_ExecutionServiceServicer_to_server(
        ExecutionServicer(history), server
    )
    return execution_pb2.DESCRIPTOR.services_by_name["ExecutionService"].full_name
