"""Has events, or dead letters, appended again, and tells how far that is."""

import asyncio
from typing import Annotated, Any

import typer

from hookline.cli.filters import check_named, confirm, counted
from hookline.cli.options import Form, Output, Router, Token

LOOK_S = 0.2
Rate = Annotated[int, typer.Option(min=1, max=10_000, help="Events a second at most.")]
OriginalVersion = Annotated[
    bool,
    typer.Option(
        "--original-version",
        help="Run each on the version that it was accepted under, not on the current one.",
    ),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Do not wait for its end; it goes on.")
]


def replay(router: str, token: str, request: Any, *, yes: bool, detach: bool) -> None:
    """Count, ask, begin, and wait for the end; Ctrl-C leaves it running.

    Prints the replay as JSON. Exits with 1 where it did not append all.
    """
    from hookline.cli.event_rows import replay_row
    from hookline.cli.output import json_text
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    check_named(request.filter)
    dry_run = request.dry_run

    async def ask(channel: Any, metadata: Metadata) -> Any:
        stub = execution_pb2_grpc.ExecutionServiceStub(channel)
        timed: dict[str, Any] = {"metadata": metadata, "timeout": TIMEOUT_S}
        request.dry_run = True
        count = (await stub.ReplayEvents(request, **timed)).count
        what = counted(count, "dead letter" if request.dead_letters else "event")
        if dry_run or not count:
            typer.echo(what)
            return None
        confirm(f"Replay {what}?", yes=yes or bool(request.filter.event_ids))
        request.dry_run = False
        begun = (await stub.ReplayEvents(request, **timed)).replay
        if detach:
            return begun
        typer.echo(
            f"replaying {what}; `hookline events cancel-replay {begun.id}` ends it",
            err=True,
        )
        return await _ended(stub, timed, begun)

    found = call(router, token, ask)
    if found is None:
        return
    typer.echo(json_text(replay_row(found)))
    finished = (execution_pb2.REPLAY_STATE_DONE, execution_pb2.REPLAY_STATE_RUNNING)
    if found.state not in finished or found.left_out:
        raise typer.Exit(1)


async def _ended(stub: Any, timed: dict[str, Any], begun: Any) -> Any:
    from hookline.v1 import execution_pb2

    while begun.state == execution_pb2.REPLAY_STATE_RUNNING:
        await asyncio.sleep(LOOK_S)
        answer = await stub.ListReplays(execution_pb2.ListReplaysRequest(), **timed)
        begun = next((one for one in answer.replays if one.id == begun.id), None)
        if begun is None:
            raise typer.BadParameter(
                "the console has started again meanwhile, and the replay has ended with "
                "it: replay the rest with --not-replayed"
            )
    return begun


def list_replays(
    *, router: Router, token: Token = "", output: Output = Form.TABLE
) -> None:
    """Print the replays since the console's start, newest first."""
    from hookline.cli.event_rows import replay_row
    from hookline.cli.output import show
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await execution_pb2_grpc.ExecutionServiceStub(channel).ListReplays(
            execution_pb2.ListReplaysRequest(), metadata=metadata, timeout=TIMEOUT_S
        )

    rows = [replay_row(one) for one in call(router, token, ask).replays]
    columns = (
        *("started_at", "replay", "state", "events", "appended", "left_out"),
        *("ended_at", "reason"),
    )
    show(output, rows, columns, "no replays since the console's start")


def cancel_replay(router: str, token: str, replay_id: str) -> None:
    """End a replay, and print what it has come to."""
    from hookline.cli.event_rows import replay_row
    from hookline.cli.output import json_text
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import execution_pb2, execution_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await execution_pb2_grpc.ExecutionServiceStub(channel).CancelReplay(
            execution_pb2.CancelReplayRequest(replay_id=replay_id),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    typer.echo(json_text(replay_row(call(router, token, ask).replay)))
