"""Options by which commands say which events, or dead letters, they mean."""

import re
import time
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final

import typer

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
AGO: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
UNNAMED: Final = (
    "say which: name ids, or a filter (--flow, --status, --since, --until, --text)"
)


class State(Enum):
    """How an event stands."""

    PENDING = "pending"
    HELD = "held"
    COMPLETED = "completed"
    FILTERED = "filtered"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    DUPLICATE = "duplicate"


EventIds = Annotated[list[str] | None, typer.Argument(metavar="EVENT")]
FlowOption = Annotated[str, typer.Option("--flow", help="Only of this flow.")]
StatusOption = Annotated[
    list[State] | None,
    typer.Option("--status", help="Only with this status; may be given several times."),
]
SinceOption = Annotated[
    str,
    typer.Option(
        "--since", help="Only from then on: 30m, 12h, 7d ago, or 2026-01-31T12:00."
    ),
]
UntilOption = Annotated[str, typer.Option("--until", help="Only before then.")]
TextOption = Annotated[
    str, typer.Option("--text", help="Only with this in the reason, or the error.")
]
NotReplayed = Annotated[
    bool, typer.Option("--not-replayed", help="Without what was replayed before.")
]
LimitOption = Annotated[int, typer.Option(min=1, max=1000)]
PageOption = Annotated[
    str,
    typer.Option("--page", help="The page behind this token, told by the one before."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def filter_of(
    *,
    flow: str = "",
    status: list[State] | None = None,
    since: str = "",
    until: str = "",
    text: str = "",
    event_ids: list[str] | None = None,
    not_replayed: bool = False,
) -> Any:
    """The filter that options come to. Exits with 2 where a time cannot be read."""
    from hookline.v1 import execution_pb2

    return execution_pb2.EventFilter(
        flow_id=flow,
        statuses=[
            execution_pb2.Status.Value(f"STATUS_{one.name}") for one in status or ()
        ],
        since_us=_moment(since, "--since"),
        before_us=_moment(until, "--until"),
        text=text,
        event_ids=event_ids or (),
        not_replayed=not_replayed,
    )


def check_named(wanted: Any) -> None:
    """Exit with 2 where a filter would take everything there is."""
    named = wanted.event_ids or wanted.flow_id or wanted.statuses or wanted.text
    if not (named or wanted.since_us or wanted.before_us):
        raise typer.BadParameter(UNNAMED)


def confirm(question: str, *, yes: bool) -> None:
    """Go on, or exit with 1 where a person says no; with 2 where nobody can be asked."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Say --yes, for nobody can be asked here.")
    typer.confirm(question, abort=True, err=True)


def counted(count: int, what: str) -> str:
    """So many events, in words."""
    return f"{count:,} {what}{'s'[: count != 1]}"


def _moment(text: str, option: str) -> int:
    """A moment in microseconds since 1970; 0 where there is none."""
    if not text:
        return 0
    if ago := AGO.fullmatch(text):
        count, unit = ago.groups()
        return int((time.time() - int(count) * SECONDS[unit]) * 1e6)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{option} takes how long ago (30m, 12h, 7d) or a time (2026-01-31T12:00), "
            f"not {text!r}"
        ) from error
    return int(moment.astimezone().timestamp() * 1e6)
