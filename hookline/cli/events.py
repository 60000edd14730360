"""hookline events list | get | tail."""

from typing import Annotated, Any

import typer

from hookline.cli.options import DEFAULT_ROUTER, Form, Output, Router, Token

app = typer.Typer(help="Events: list, get, tail.", no_args_is_help=True)
FlowOption = Annotated[str, typer.Option("--flow", help="Only events of this flow.")]
COLUMNS = ("accepted_at", "event", "flow", "status", "ms", "outcome")


@app.command("list")
def list_events(
    *,
    flow: FlowOption = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """The newest events, newest first."""
    from hookline.cli.output import show
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await execution_pb2_grpc.ExecutionServiceStub(channel).ListEvents(
            execution_pb2.ListEventsRequest(flow_id=flow, limit=limit),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    rows = [_row(event) for event in call(router, token, ask).events]
    show(output, rows, COLUMNS, "no events yet")


@app.command("get")
def get_event(
    event_id: str,
    *,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """One event as JSON: its request and what became of it."""
    from hookline.cli.output import json_text
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.cli.requests import request_row
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await execution_pb2_grpc.ExecutionServiceStub(channel).GetEvent(
            execution_pb2.GetEventRequest(event_id=event_id),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, ask)
    row = _row(answer.summary)
    if answer.event.from_rejection:
        row["from_rejection"] = answer.event.from_rejection
    row["request"] = request_row(answer.event.request)
    typer.echo(json_text(row))


@app.command("tail")
def tail_events(
    *,
    flow: FlowOption = "",
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Events and their ends as they come, as JSON lines; Ctrl-C ends it."""
    import msgspec

    from hookline.cli.remote import Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    async def follow(channel: Any, metadata: Metadata) -> None:
        stream = execution_pb2_grpc.ExecutionServiceStub(channel).TailEvents(
            execution_pb2.TailEventsRequest(flow_id=flow), metadata=metadata
        )
        async for answer in stream:
            typer.echo(msgspec.json.encode(_row(answer.event)).decode())

    call(router, token, follow)


def _row(event: Any) -> dict[str, Any]:
    from hookline.cli.output import time_json
    from hookline.v1 import execution_pb2

    status = execution_pb2.Status.Name(event.status).removeprefix("STATUS_").lower()
    row: dict[str, Any] = {"event": event.event_id, "flow": event.flow_id}
    row["status"] = status
    if event.accepted_at_us:
        row["accepted_at"] = time_json(event.accepted_at_us)
        row["flow_version"] = event.flow_version
    row |= {"partition": event.partition, "offset": event.offset}
    if not event.HasField("ended"):
        return row
    ended = event.ended
    if event.accepted_at_us:
        row["ms"] = (ended.ended_at_us - event.accepted_at_us) // 1000
    when = "held_at" if status == "held" else "ended_at"
    row |= {when: time_json(ended.ended_at_us), "attempts": ended.attempts}
    if ended.step:
        row["step"] = ended.step
    row["outcome"] = ended.reason or _result(ended.result)
    return row


def _result(result: bytes) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(result) if result else None
    except msgspec.DecodeError:  # cut at its limit
        return result.decode(errors="replace") + "…"
