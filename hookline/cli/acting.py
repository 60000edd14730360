"""What is done to single events, one by one: named ones, or all that a filter finds."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import typer

from hookline.cli.filters import State, check_named, confirm, counted, filter_of
from hookline.cli.remote import TIMEOUT_S, Metadata, call

PAGE = 1000
# What has ended is not to be acted on any more.
UNFINISHED = [State.PENDING, State.HELD]
Act = Callable[[Any, str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """Which events, and whether a person was asked already."""

    wanted: Any
    dry_run: bool
    yes: bool


def target_of(
    event_ids: list[str] | None,
    *,
    dry_run: bool,
    yes: bool,
    status: list[State] | None,
    **options: Any,
) -> Target:
    """Named events as they are; of a filter those that have not ended."""
    wanted = filter_of(event_ids=event_ids, status=status, **options)
    check_named(wanted)
    if not wanted.statuses and not event_ids:
        wanted = filter_of(status=UNFINISHED, **options)
    return Target(wanted, dry_run=dry_run, yes=yes or bool(event_ids))


def act(router: str, token: str, target: Target, verb: str, one: Act) -> None:
    """Do it to each event, oldest first; `one` gets the stub's options and an id.

    Prints the ids of those to which it was done. Exits with 1 where not all were.
    """

    async def each(channel: Any, metadata: Metadata) -> bool:
        from hookline.v1 import execution_pb2_grpc

        stub = execution_pb2_grpc.ExecutionServiceStub(channel)
        ids = list(target.wanted.event_ids)
        if not ids:
            ids = [one async for one in _found(stub, metadata, target.wanted)]
            ids.reverse()
        if target.dry_run:
            typer.echo(counted(len(ids), "event"))
            return True
        confirm(f"{verb} {counted(len(ids), 'event')}?", yes=target.yes or not ids)
        done = [await _try(_Stub(stub, metadata), event_id, one) for event_id in ids]
        if len(ids) > 1 or not ids:
            typer.echo(
                f"done with {sum(done):,} of {counted(len(ids), 'event')}", err=True
            )
        return all(done)

    if not call(router, token, each):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Stub:
    """Calls with the caller's token, within the time that there is."""

    stub: Any
    metadata: Metadata

    async def ask(self, method: str, request: Any) -> Any:
        return await getattr(self.stub, method)(
            request, metadata=self.metadata, timeout=TIMEOUT_S
        )


async def _try(stub: _Stub, event_id: str, one: Act) -> bool:
    """Whether it was done; what is in the way of a single event is told, and passed."""
    try:
        asked = (await one(stub, event_id)).asked
    except grpc.aio.AioRpcError as error:
        if error.code() not in (
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.NOT_FOUND,
        ):
            raise
        typer.echo(f"hookline: {error.details()}", err=True)
        return False
    typer.echo(event_id)
    if not asked.carried_out:
        typer.echo(
            f"{event_id}: it is in the log, and is carried out when an executor has its "
            "partition",
            err=True,
        )
    return True


async def _found(stub: Any, metadata: Metadata, wanted: Any) -> AsyncIterator[str]:
    """The ids of all that a filter finds, newest first."""
    from hookline.v1 import execution_pb2

    token = ""
    while True:
        page = await stub.ListEvents(
            execution_pb2.ListEventsRequest(
                filter=wanted, limit=PAGE, page_token=token
            ),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )
        for event in page.events:
            yield event.event_id
        token = page.next_page_token
        if not token:
            return
