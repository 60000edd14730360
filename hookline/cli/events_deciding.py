"""hookline events retry | skip | cancel | edit: what a person decides."""

from typing import Annotated, Any

import typer

from hookline.cli import acting
from hookline.cli.filters import (
    DryRun,
    EventIds,
    FlowOption,
    SinceOption,
    StatusOption,
    TextOption,
    UntilOption,
    Yes,
    filter_of,
)
from hookline.cli.options import DEFAULT_ROUTER, Router, Token


def retry_events(
    event_ids: EventIds = None,
    *,
    flow: FlowOption = "",
    status: StatusOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    text: TextOption = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Make the next attempt now; what is held goes on where it has failed.

    Without ids: all that the filter finds, of those that have not ended.
    """
    target = acting.target_of(
        event_ids,
        dry_run=dry_run,
        yes=yes,
        status=status,
        flow=flow,
        since=since,
        until=until,
        text=text,
    )

    async def one(stub: Any, event_id: str) -> Any:
        from hookline.v1 import execution_pb2

        request = execution_pb2.RetryEventRequest(event_id=event_id)
        return await stub.ask("RetryEvent", request)

    acting.act(router, token, target, "Retry", one)


def skip_events(
    event_ids: EventIds = None,
    *,
    flow: FlowOption = "",
    status: StatusOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    text: TextOption = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """End events as skipped: a step that runs may end, no other starts.

    Without ids: all that the filter finds, of those that have not ended.
    """
    target = acting.target_of(
        event_ids,
        dry_run=dry_run,
        yes=yes,
        status=status,
        flow=flow,
        since=since,
        until=until,
        text=text,
    )

    async def one(stub: Any, event_id: str) -> Any:
        from hookline.v1 import execution_pb2

        request = execution_pb2.SkipEventRequest(event_id=event_id)
        return await stub.ask("SkipEvent", request)

    acting.act(router, token, target, "Skip", one)


def cancel_events(
    event_ids: EventIds = None,
    *,
    flow: FlowOption = "",
    status: StatusOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    text: TextOption = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """End events as cancelled: a step that runs is cut off, and may have done its work.

    Without ids: all that the filter finds, of those that have not ended.
    """
    target = acting.target_of(
        event_ids,
        dry_run=dry_run,
        yes=yes,
        status=status,
        flow=flow,
        since=since,
        until=until,
        text=text,
    )

    async def one(stub: Any, event_id: str) -> Any:
        from hookline.v1 import execution_pb2

        request = execution_pb2.CancelEventRequest(event_id=event_id)
        return await stub.ask("CancelEvent", request)

    acting.act(router, token, target, "Cancel", one)


def edit_event(
    event_id: str,
    *,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="The new body; @FILE reads a file."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", help="NAME: VALUE; all headers are replaced."),
    ] = None,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Begin an event anew with another body, or other headers; the first stay in the log.

    It must be held, or wait for its next attempt.
    """
    from hookline.cli.messages import body_of, pair_of
    from hookline.v1 import control_pb2, event_pb2, execution_pb2

    if data is None and not header:
        raise typer.BadParameter("say what is new: --data, or --header")
    pairs = [pair_of(text) for text in header or ()]
    edit = control_pb2.EditAndRetry(
        body=None if data is None else body_of(data),
        headers=[
            event_pb2.Header(name=name.encode(), value=value.encode())
            for name, value in pairs
        ],
    )

    async def one(stub: Any, event_id: str) -> Any:
        request = execution_pb2.EditAndRetryEventRequest(event_id=event_id, edit=edit)
        return await stub.ask("EditAndRetryEvent", request)

    target = acting.Target(filter_of(event_ids=[event_id]), dry_run=False, yes=True)
    acting.act(router, token, target, "Edit", one)
