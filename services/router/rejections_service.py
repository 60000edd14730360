"""RejectionService over gRPC: shows what was refused, and accepts it after all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from hookline.errors import Rejected, Unavailable
from hookline.log import Log
from hookline.metrics import RouterMetrics
from hookline.topics import Topics
from hookline.v1 import rejection_pb2, rejection_pb2_grpc
from services.router.outcomes import rpc_status
from services.router.registry import Registry
from services.router.rejections_accept import AcceptedRejections, NotFound, NotWhole
from services.router.rejections_found import Found, FoundRejections

Context = grpc.aio.ServicerContext[Any, Any]
DEFAULT_LIMIT = 20
MOST = 1000


class RejectionServicer(rejection_pb2_grpc.RejectionServiceServicer):
    """Translates between gRPC and the rejections."""

    def __init__(self, found: FoundRejections, accepted: AcceptedRejections) -> None:
        self._found = found
        self._accepted = accepted

    async def ListRejections(  # noqa: N802 - the method's name in the proto
        self, request: rejection_pb2.ListRejectionsRequest, context: Context
    ) -> rejection_pb2.ListRejectionsResponse:
        """The newest rejections, newest first."""
        limit = min(request.limit or DEFAULT_LIMIT, MOST)
        async with _answering(context):
            found = await self._found.newest(request.flow_id, request.reason, limit)
        return rejection_pb2.ListRejectionsResponse(rejections=map(_summary, found))

    async def GetRejection(  # noqa: N802 - the method's name in the proto
        self, request: rejection_pb2.GetRejectionRequest, context: Context
    ) -> rejection_pb2.GetRejectionResponse:
        """One rejection with what is kept of its request."""
        async with _answering(context):
            found = await self._found.find(request.rejection_id)
            if found is None:
                raise NotFound(request.rejection_id)
        return rejection_pb2.GetRejectionResponse(
            rejection=found.rejection, event_id=_event_id(found)
        )

    async def AcceptRejection(  # noqa: N802 - the method's name in the proto
        self, request: rejection_pb2.AcceptRejectionRequest, context: Context
    ) -> rejection_pb2.AcceptRejectionResponse:
        """Make an event of a rejection."""
        async with _answering(context):
            event_id, already = await self._accepted.accept(request.rejection_id)
        return rejection_pb2.AcceptRejectionResponse(event_id=event_id, already=already)


@asynccontextmanager
async def _answering(context: Context) -> AsyncIterator[None]:
    """Refusals as statuses; UNAVAILABLE may be asked again."""
    try:
        yield
    except NotFound as error:
        await context.abort(
            grpc.StatusCode.NOT_FOUND,
            f"There is no rejection {str(error)!r}, or it is forgotten; "
            "`hookline rejections list` has the newest.",
        )
    except NotWhole as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except (Rejected, Unavailable) as error:
        await context.abort_with_status(rpc_status(error))


def _event_id(found: Found) -> str:
    return found.event_id if found.accepted else ""


def _summary(found: Found) -> rejection_pb2.RejectionSummary:
    rejection = found.rejection
    return rejection_pb2.RejectionSummary(
        rejection_id=rejection.id,
        flow_id=rejection.flow_id,
        flow_version=rejection.flow_version,
        rejected_at_us=rejection.rejected_at_us,
        reason=rejection.reason,
        cause=rejection.cause,
        request_id=rejection.request.request_id,
        method=rejection.request.method,
        remote=rejection.request.remote,
        body_size=rejection.body_size,
        whole=rejection.whole,
        left_out=found.left_out,
        event_id=_event_id(found),
    )


def add_rejections(
    registry: Registry,
    log: Log,
    topics: Topics,
    metrics: RouterMetrics,
    server: grpc.aio.Server,
) -> str:
    """Add the service to a server; gives its full name."""
    found = FoundRejections(log, topics.rejections)
    accepted = AcceptedRejections(registry, log, topics, metrics, found)
    rejection_pb2_grpc.add_RejectionServiceServicer_to_server(
        RejectionServicer(found, accepted), server
    )
    return rejection_pb2.DESCRIPTOR.services_by_name["RejectionService"].full_name
