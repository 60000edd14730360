"""`hookline verify`: whether this installation keeps what is promised."""

from typing import Annotated, Any

import typer

from hookline.cli.options import (
    DEFAULT_HTTP,
    DEFAULT_ROUTER,
    Form,
    Output,
    Router,
    Token,
)

MOST_A_FLOW = 900  # ExecutionService lists a thousand of a flow at once


def verify(
    *,
    events: Annotated[int, typer.Option(min=1, help="How many are sent.")] = 20_000,
    flows: Annotated[int, typer.Option(min=1, help="To how many flows.")] = 50,
    url: Annotated[
        str, typer.Option(envvar="HOOKLINE_URL", help="Where webhooks are taken.")
    ] = f"http://{DEFAULT_HTTP}",
    rate: Annotated[float, typer.Option(min=0.1, help="Events a second.")] = 500.0,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds without an end before one is lost.")
    ] = 60.0,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """Send numbered events through scratch flows and see what becomes of them.

    Kill executors, routers, brokers meanwhile: nothing accepted may be lost, and nothing
    may run out of order. The exit code is 1 where something was.

    The scratch flows are called hookline-verify-0, -1, …; they do nothing, take requests
    of anyone who can reach the public port, and stay when it is over, for the next run;
    `hookline flows delete` removes them.
    """
    from hookline.cli.remote import Metadata, call
    from hookline.cli.verifying import Task
    from hookline.cli.verifying import verify as verified

    if events > flows * MOST_A_FLOW:
        typer.echo(
            f"hookline: a flow takes at most {MOST_A_FLOW} of them here: name more with "
            "--flows, or send fewer",
            err=True,
        )
        raise typer.Exit(2)
    task = Task(url, events, flows, rate, wait)

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await verified(task, channel, metadata)

    verdict = call(router, token, ask)
    _show(output, verdict)
    if not verdict.good:
        raise typer.Exit(1)


def _show(form: Form, verdict: Any) -> None:
    import msgspec

    from hookline.cli.output import json_text

    match form:
        case Form.TABLE:
            typer.echo("\n".join(_lines(verdict)))
        case Form.JSON:
            typer.echo(json_text(verdict))
        case Form.JSONL:
            typer.echo(msgspec.json.encode(verdict).decode())


def _lines(verdict: Any) -> list[str]:
    names = (
        "sent",
        "accepted",
        "refused",
        "unknown",
        "lost",
        "reordered",
        "duplicated",
    )
    lines = [f"{name:<12}{getattr(verdict, name):>9}" for name in names]
    for name in ("accepted_ms", "completed_ms"):
        marks = zip(("p50", "p90", "p99", "max"), getattr(verdict, name), strict=False)
        told = "  ".join(f"{mark} {value:g}" for mark, value in marks)
        lines.append(f"{name.replace('_', ', '):<15}{told}")
    return lines
