"""hookline dead-letters list | get | replay."""

import sys
from typing import Annotated, Any

import typer

from hookline.cli import replaying
from hookline.cli.events import tell_more
from hookline.cli.filters import (
    DryRun,
    EventIds,
    FlowOption,
    LimitOption,
    PageOption,
    SinceOption,
    TextOption,
    UntilOption,
    Yes,
    filter_of,
)
from hookline.cli.options import DEFAULT_ROUTER, Form, Output, Router, Token

app = typer.Typer(
    help="Dead letters, what failed for good: list, get, replay.", no_args_is_help=True
)
COLUMNS = ("failed_at", "event", "flow", "step", "attempts", "replay", "reason")


@app.command("list")
def list_letters(
    *,
    flow: FlowOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    text: TextOption = "",
    open_only: Annotated[
        bool, typer.Option("--open", help="Without what was replayed.")
    ] = False,
    limit: LimitOption = 20,
    page: PageOption = "",
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """Dead letters; what failed last comes first. REPLAY is how the newest one stands."""
    from hookline.cli.event_rows import letter_row
    from hookline.cli.output import show
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    wanted = filter_of(
        flow=flow, since=since, until=until, text=text, not_replayed=open_only
    )

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await execution_pb2_grpc.ExecutionServiceStub(channel).ListDeadLetters(
            execution_pb2.ListDeadLettersRequest(
                filter=wanted, limit=limit, page_token=page
            ),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, ask)
    rows = [letter_row(letter) for letter in answer.dead_letters]
    show(output, rows, COLUMNS, "no dead letters")
    tell_more(answer)


@app.command("get")
def get_letter(
    letter_id: Annotated[str, typer.Argument(metavar="EVENT")],
    *,
    body: Annotated[
        bool, typer.Option("--body", help="Only the bytes of the body, as sent.")
    ] = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """One dead letter as JSON: why it failed, and its request as it was sent."""
    from hookline.cli.event_rows import letter_row
    from hookline.cli.output import json_text
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.cli.requests import refuse_stored, request_row
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await execution_pb2_grpc.ExecutionServiceStub(channel).GetDeadLetter(
            execution_pb2.GetDeadLetterRequest(id=letter_id),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, ask)
    letter = answer.dead_letter
    if body:
        refuse_stored(letter.event.request)
        sys.stdout.buffer.write(letter.unreadable or letter.event.request.body)
        return
    row = letter_row(answer.summary)
    if letter.unreadable:
        row["unreadable_hex"] = letter.unreadable.hex()
    else:
        row["request"] = request_row(letter.event.request)
    typer.echo(json_text(row))


@app.command("replay")
def replay_letters(
    event_ids: EventIds = None,
    *,
    flow: FlowOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    text: TextOption = "",
    again: Annotated[
        bool, typer.Option("--again", help="Also what was replayed before.")
    ] = False,
    original_version: replaying.OriginalVersion = False,
    rate: replaying.Rate = 50,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: replaying.Detach = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Run dead letters again, as new events that say which they repeat; oldest first.

    What was replayed before is left out.
    """
    from hookline.v1 import execution_pb2

    request = execution_pb2.ReplayEventsRequest(
        filter=filter_of(
            event_ids=event_ids,
            flow=flow,
            since=since,
            until=until,
            text=text,
            not_replayed=not again,
        ),
        dead_letters=True,
        original_version=original_version,
        rate=rate,
        dry_run=dry_run,
    )
    replaying.replay(router, token, request, yes=yes, detach=detach)
