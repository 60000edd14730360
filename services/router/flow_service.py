"""FlowService over gRPC: applies flow files, shows flows, holds and removes them."""

import asyncio
from typing import Any, NoReturn

import grpc

from hookline.errors import MissingSecret, Unavailable
from hookline.flow_file import FlowFile, Mistake
from hookline.flow_records import DELETED
from hookline.v1 import flow_pb2, flow_pb2_grpc
from services.router.applier import Applied, Applier
from services.router.decider import Decider, Refused, Verb
from services.router.flow_summaries import FlowSummaries
from services.router.outcomes import rpc_status

NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
Context = grpc.aio.ServicerContext[Any, Any]


class FlowServicer(flow_pb2_grpc.FlowServiceServicer):
    """Translates between gRPC and those who apply, decide and show."""

    def __init__(
        self, applier: Applier, decider: Decider, summaries: FlowSummaries
    ) -> None:
        self._applier = applier
        self._decider = decider
        self._summaries = summaries

    async def ApplyFlows(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.ApplyFlowsRequest, context: Context
    ) -> flow_pb2.ApplyFlowsResponse:
        """Apply all files, or none where one has a mistake or lacks a secret."""
        if request.dry_run:
            return await self._apply(request, context)
        async with self._applier.turn:
            return await self._apply(request, context)

    async def _apply(
        self, request: flow_pb2.ApplyFlowsRequest, context: Context
    ) -> flow_pb2.ApplyFlowsResponse:
        files = [FlowFile(file.file_name, file.content) for file in request.files]
        flows, mistakes = await asyncio.to_thread(self._applier.check, files)
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
            flows=[_applied_message(one) for one in applied]
        )

    async def GetFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.GetFlowRequest, context: Context
    ) -> flow_pb2.GetFlowResponse:
        """One flow with its definition."""
        stored = self._applier.version(request.flow_id, request.version)
        if stored is None:
            await self._not_there(request.flow_id, context, request.version)
        summary = self._summaries.get(request.flow_id)
        return flow_pb2.GetFlowResponse(flow=stored, summary=summary)

    async def ListFlows(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.ListFlowsRequest, _context: Context
    ) -> flow_pb2.ListFlowsResponse:
        """All flows, by id."""
        flows = self._summaries.all(deleted=request.deleted)
        return flow_pb2.ListFlowsResponse(flows=flows)

    async def SuspendFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.SuspendFlowRequest, context: Context
    ) -> flow_pb2.SuspendFlowResponse:
        """Requests are accepted and kept, no step starts."""
        flow, changed = await self._decide(request.flow_id, Verb.SUSPEND, context)
        return flow_pb2.SuspendFlowResponse(flow=flow, changed=changed)

    async def ResumeFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.ResumeFlowRequest, context: Context
    ) -> flow_pb2.ResumeFlowResponse:
        """A suspended flow goes on."""
        flow, changed = await self._decide(request.flow_id, Verb.RESUME, context)
        return flow_pb2.ResumeFlowResponse(flow=flow, changed=changed)

    async def StopFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.StopFlowRequest, context: Context
    ) -> flow_pb2.StopFlowResponse:
        """Callers get 404; what was accepted is kept, and no step of it starts."""
        flow, changed = await self._decide(request.flow_id, Verb.STOP, context)
        return flow_pb2.StopFlowResponse(flow=flow, changed=changed)

    async def StartFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.StartFlowRequest, context: Context
    ) -> flow_pb2.StartFlowResponse:
        """A stopped flow takes requests again and goes on."""
        flow, changed = await self._decide(request.flow_id, Verb.START, context)
        return flow_pb2.StartFlowResponse(flow=flow, changed=changed)

    async def DeleteFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.DeleteFlowRequest, context: Context
    ) -> flow_pb2.DeleteFlowResponse:
        """Callers get 404; what was accepted runs to its end, or is discarded."""
        verb = Verb.DISCARD if request.discard else Verb.DELETE
        flow, changed = await self._decide(request.flow_id, verb, context)
        return flow_pb2.DeleteFlowResponse(flow=flow, changed=changed)

    async def ListFlowVersions(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.ListFlowVersionsRequest, context: Context
    ) -> flow_pb2.ListFlowVersionsResponse:
        """All versions of a flow, newest first."""
        versions = list(self._summaries.versions(request.flow_id))
        if not versions:
            await self._not_there(request.flow_id, context)
        return flow_pb2.ListFlowVersionsResponse(versions=versions)

    async def RollBackFlow(  # noqa: N802 - the method's name in the proto
        self, request: flow_pb2.RollBackFlowRequest, context: Context
    ) -> flow_pb2.RollBackFlowResponse:
        """Apply the definition of an older version as a new one."""
        flow_id = request.flow_id
        try:
            await self._applier.catch_up()
        except Unavailable as error:
            await context.abort_with_status(rpc_status(error))
        version = request.version or self._applier.version_before(flow_id)
        stored = self._applier.version(flow_id, version, deleted=True)
        if stored is None:
            await self._not_there(flow_id, context, version)
        read, why_not = self._applier.read_again(stored)
        if read is None:
            await context.abort(FAILED_PRECONDITION, why_not)
        try:
            applied = await self._applier.roll_back(read, version)
        except Unavailable as error:
            await context.abort_with_status(rpc_status(error))
        return flow_pb2.RollBackFlowResponse(
            flow=_applied_message(applied), rolled_back_to=version
        )

    async def _decide(
        self, flow_id: str, verb: Verb, context: Context
    ) -> tuple[flow_pb2.FlowSummary | None, bool]:
        """Decide; the flow as it is then, and whether it has changed."""
        try:
            decided = await self._decider.decide(flow_id, verb)
        except Unavailable as error:
            await context.abort_with_status(rpc_status(error))
        if decided is None:
            await self._not_there(flow_id, context)
        if isinstance(decided, Refused):
            is_gone = decided.state == DELETED
            code = NOT_FOUND if is_gone else FAILED_PRECONDITION
            await context.abort(code, decided.text)
        return self._summaries.get(flow_id), decided.changed

    async def _not_there(
        self, flow_id: str, context: Context, version: int = 0
    ) -> NoReturn:
        text = self._summaries.why_not_there(flow_id, version)
        await context.abort(NOT_FOUND, text)


def _mistake_message(mistake: Mistake) -> flow_pb2.Mistake:
    return flow_pb2.Mistake(
        file_name=mistake.file_name,
        line=mistake.line,
        field=mistake.field,
        text=mistake.text,
    )


def _applied_message(one: Applied) -> flow_pb2.AppliedFlow:
    return flow_pb2.AppliedFlow(
        flow_id=one.flow_id, version=one.version, changed=one.changed
    )
