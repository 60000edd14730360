"""FlowService over gRPC: applies flow files, shows flows."""

from typing import Any

import grpc

from hookline.errors import MissingSecret, Unavailable
from hookline.flow_file import FlowFile, Mistake
from hookline.v1 import flow_pb2, flow_pb2_grpc
from services.router.applier import Applier
from services.router.outcomes import rpc_status
from services.router.registry import Registry, ServedFlow

Context = grpc.aio.ServicerContext[Any, Any]


class FlowServicer(flow_pb2_grpc.FlowServiceServicer):
    """Translates between gRPC and the applier."""

    def __init__(self, applier: Applier, registry: Registry) -> None:
        self._applier = applier
        self._registry = registry

    async def ApplyFlows(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.ApplyFlowsRequest, context: Context
    ) -> flow_pb2.ApplyFlowsResponse:
        """Apply all files, or none where one has a mistake or lacks a secret."""
        files = [FlowFile(file.file_name, file.content) for file in request.files]
        flows, mistakes = self._applier.check(files)
        mistakes += [
            Mistake(read.file_name, 0, "", str(MissingSecret(*missing)))
            for read in flows
            if (missing := self._applier.missing_secrets(read))
        ]
        if mistakes:
            return flow_pb2.ApplyFlowsResponse(
                mistakes=[_mistake_message(mistake) for mistake in mistakes]
            )
        if request.dry_run:
            return flow_pb2.ApplyFlowsResponse()
        try:
            applied = await self._applier.apply(flows)
        except Unavailable as error:
            await context.abort_with_status(rpc_status(error))
        return flow_pb2.ApplyFlowsResponse(
            flows=[
                flow_pb2.AppliedFlow(
                    flow_id=one.flow_id, version=one.version, changed=one.changed
                )
                for one in applied
            ]
        )

    async def GetFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.GetFlowRequest, context: Context
    ) -> flow_pb2.GetFlowResponse:
        """One flow with its definition."""
        served = self._registry.get(request.flow_id)
        if served is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"There is no flow {request.flow_id!r}; `hookline flows list` has all.",
            )
        return flow_pb2.GetFlowResponse(flow=served.stored, summary=_summary(served))

    async def ListFlows(  # noqa: N802 - the method's name in the proto
        self, _request: flow_pb2.ListFlowsRequest, _context: Context
    ) -> flow_pb2.ListFlowsResponse:
        """All flows, by id."""
        return flow_pb2.ListFlowsResponse(
            flows=[_summary(served) for served in self._registry.all()]
        )


def _mistake_message(mistake: Mistake) -> flow_pb2.Mistake:
    return flow_pb2.Mistake(
        file_name=mistake.file_name,
        line=mistake.line,
        field=mistake.field,
        text=mistake.text,
    )


def _summary(served: ServedFlow) -> flow_pb2.FlowSummary:
    active = not served.missing_secrets
    return flow_pb2.FlowSummary(
        flow_id=served.flow.id,
        name=served.flow.name,
        version=served.version,
        state=flow_pb2.FLOW_STATE_ACTIVE if active else flow_pb2.FLOW_STATE_INACTIVE,
        missing_secrets=served.missing_secrets,
        methods=served.flow.webhook.methods,
        applied_at_us=served.stored.applied_at_us,
    )
