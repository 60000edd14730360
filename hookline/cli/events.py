"""hookline events: list, get, tail, retry, skip, cancel, edit, replay."""

from typing import Any

import typer

from hookline.cli import events_deciding, replaying
from hookline.cli.filters import (
    DryRun,
    EventIds,
    FlowOption,
    LimitOption,
    NotReplayed,
    PageOption,
    SinceOption,
    StatusOption,
    TextOption,
    UntilOption,
    Yes,
    filter_of,
)
from hookline.cli.options import DEFAULT_ROUTER, Form, Output, Router, Token

app = typer.Typer(
    help="Events: what became of them, and what is to be done with them.",
    no_args_is_help=True,
)
COLUMNS = ("accepted_at", "event", "flow", "status", "ms", "next_attempt_at", "outcome")


@app.command("list")
def list_events(
    *,
    flow: FlowOption = "",
    status: StatusOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    text: TextOption = "",
    not_replayed: NotReplayed = False,
    limit: LimitOption = 20,
    page: PageOption = "",
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """Events, newest first."""
    from hookline.cli.event_rows import event_row
    from hookline.cli.output import show
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    wanted = filter_of(
        flow=flow,
        status=status,
        since=since,
        until=until,
        text=text,
        not_replayed=not_replayed,
    )

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await execution_pb2_grpc.ExecutionServiceStub(channel).ListEvents(
            execution_pb2.ListEventsRequest(
                filter=wanted, limit=limit, page_token=page
            ),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, ask)
    rows = [event_row(event) for event in answer.events]
    show(output, rows, COLUMNS, "no events yet" if wanted == filter_of() else "none")
    tell_more(answer)


def tell_more(answer: Any) -> None:
    """Tell of further pages, and of what is not in the list yet."""
    if answer.next_page_token:
        typer.echo(f"there are more: --page {answer.next_page_token}", err=True)
    if answer.behind:
        typer.echo(
            f"the index has yet to read {answer.behind:,} records: ask again", err=True
        )


@app.command("get")
def get_event(
    event_id: str,
    *,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """One event as JSON: its request, its attempts, and what became of it."""
    from hookline.cli.event_rows import event_row, letter_row, timeline_row
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
    row = event_row(answer.summary)
    if answer.event.from_rejection:
        row["from_rejection"] = answer.event.from_rejection
    if answer.replays:
        row["replays"] = list(answer.replays)
    row["timeline"] = [timeline_row(entry) for entry in answer.timeline]
    if answer.HasField("dead_letter"):
        row["dead_letter"] = letter_row(answer.dead_letter)
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

    from hookline.cli.event_rows import event_row
    from hookline.cli.remote import Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    async def follow(channel: Any, metadata: Metadata) -> None:
        stream = execution_pb2_grpc.ExecutionServiceStub(channel).TailEvents(
            execution_pb2.TailEventsRequest(flow_id=flow), metadata=metadata
        )
        async for answer in stream:
            typer.echo(msgspec.json.encode(event_row(answer.event)).decode())

    call(router, token, follow)


app.command("retry")(events_deciding.retry_events)
app.command("skip")(events_deciding.skip_events)
app.command("cancel")(events_deciding.cancel_events)
app.command("edit")(events_deciding.edit_event)


@app.command("replay")
def replay_events(
    event_ids: EventIds = None,
    *,
    flow: FlowOption = "",
    status: StatusOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    text: TextOption = "",
    not_replayed: NotReplayed = False,
    original_version: replaying.OriginalVersion = False,
    rate: replaying.Rate = 50,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: replaying.Detach = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Append events again, as new events that say which they repeat; oldest first.

    They run like any others, behind what their flows have already.
    """
    from hookline.v1 import execution_pb2

    request = execution_pb2.ReplayEventsRequest(
        filter=filter_of(
            event_ids=event_ids,
            flow=flow,
            status=status,
            since=since,
            until=until,
            text=text,
            not_replayed=not_replayed,
        ),
        original_version=original_version,
        rate=rate,
        dry_run=dry_run,
    )
    replaying.replay(router, token, request, yes=yes, detach=detach)


@app.command("replays")
def list_replays(
    *,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """The replays since the console's start, newest first."""
    replaying.list_replays(router=router, token=token, output=output)


@app.command("cancel-replay")
def cancel_replay(
    replay_id: str,
    *,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """End a replay; what it has appended stays."""
    replaying.cancel_replay(router, token, replay_id)
