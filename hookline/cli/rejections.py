"""hookline rejections list | get | accept."""

import sys
from enum import Enum
from typing import Annotated, Any

import typer

from hookline.cli.options import DEFAULT_ROUTER, Form, Output, Router, Token

app = typer.Typer(help="Refused requests: list, get, accept.", no_args_is_help=True)
FlowOption = Annotated[
    str, typer.Option("--flow", help="Only rejections of this flow.")
]
COLUMNS = (
    *("rejected_at", "rejection", "flow", "reason", "method", "remote", "bytes"),
    *("whole", "cause", "left_out", "event"),
)


class Why(Enum):
    """The reasons for which a flow's requests are refused."""

    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNAUTHENTICATED = "unauthenticated"
    MALFORMED = "malformed"
    MISSING_CONTENT_TYPE = "missing_content_type"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"
    TOO_SLOW = "too_slow"
    TOO_MANY_REQUESTS = "too_many_requests"


@app.command("list")
def list_rejections(
    *,
    flow: FlowOption = "",
    reason: Annotated[
        Why | None, typer.Option("--reason", help="Only those for this reason.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """The newest rejections, newest first, with what no sender is told: the cause.

    LEFT OUT counts refusals of the same flow, for the same reason, that came next and were
    not kept: too many at once. WHOLE ones can be accepted; EVENT is what one has become.
    """
    from hookline.cli.output import show
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import event_pb2, rejection_pb2, rejection_pb2_grpc

    name = f"REASON_{reason.name if reason else 'UNSPECIFIED'}"
    wanted = event_pb2.Reason.Value(name)

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await rejection_pb2_grpc.RejectionServiceStub(channel).ListRejections(
            rejection_pb2.ListRejectionsRequest(
                flow_id=flow, reason=wanted, limit=limit
            ),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    rows = [_row(one) for one in call(router, token, ask).rejections]
    show(output, rows, COLUMNS, "no rejections")


@app.command("get")
def get_rejection(
    rejection_id: str,
    *,
    body: Annotated[
        bool, typer.Option("--body", help="Only the bytes of the body, as kept.")
    ] = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """One rejection as JSON: the cause, and what is kept of the request."""
    from hookline.cli.output import json_text
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.cli.requests import request_row
    from hookline.v1 import rejection_pb2, rejection_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await rejection_pb2_grpc.RejectionServiceStub(channel).GetRejection(
            rejection_pb2.GetRejectionRequest(rejection_id=rejection_id),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, ask)
    rejection = answer.rejection
    if body:
        sys.stdout.buffer.write(rejection.request.body)
        return
    row = {
        **_facts(rejection.id, rejection),
        "detail": rejection.detail,
        **({"event": answer.event_id} if answer.event_id else {}),
        "request": request_row(rejection.request),
    }
    typer.echo(json_text(row))


@app.command("accept")
def accept_rejections(
    rejection_ids: list[str],
    *,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Run rejected requests as if their credential had been right, in this order.

    What else is wrong with one is told, and ends the command. Accepting again is safe:
    it names the same event. Prints the events' ids.
    """
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import rejection_pb2, rejection_pb2_grpc

    for rejection_id in rejection_ids:

        async def ask(
            channel: Any, metadata: Metadata, rejection_id: str = rejection_id
        ) -> Any:
            stub = rejection_pb2_grpc.RejectionServiceStub(channel)
            return await stub.AcceptRejection(
                rejection_pb2.AcceptRejectionRequest(rejection_id=rejection_id),
                metadata=metadata,
                timeout=TIMEOUT_S,
            )

        answer = call(router, token, ask)
        typer.echo(answer.event_id)
        if answer.already:
            typer.echo(f"{rejection_id} was already accepted", err=True)


def _facts(rejection_id: str, one: Any) -> dict[str, Any]:
    """What a rejection and its summary have in common."""
    from hookline.cli.output import time_json
    from hookline.v1 import event_pb2

    reason = event_pb2.Reason.Name(one.reason).removeprefix("REASON_").lower()
    return {
        "rejected_at": time_json(one.rejected_at_us),
        "rejection": rejection_id,
        "flow": one.flow_id,
        "flow_version": one.flow_version,
        "reason": reason,
        "cause": one.cause,
        "bytes": one.body_size,
        "whole": one.whole,
    }


def _row(one: Any) -> dict[str, Any]:
    row = _facts(one.rejection_id, one)
    row |= {"method": one.method, "remote": one.remote, "request_id": one.request_id}
    if one.left_out:
        row["left_out"] = one.left_out
    if one.event_id:
        row["event"] = one.event_id
    return row
