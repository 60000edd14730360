"""hookline topics create | check: what the log needs on Kafka."""

from typing import Annotated

import typer

from hookline.cli.options import LogPlace

app = typer.Typer(
    help="The log's topics on Kafka: create, check.", no_args_is_help=True
)
Wait = Annotated[
    float,
    typer.Option(
        min=0,
        envvar="HOOKLINE_WAIT",
        help="Seconds to go on trying while brokers are away or too few.",
    ),
]


@app.command("create")
def create(*, log: LogPlace = "", wait: Wait = 0.0) -> None:
    """Make the topics that are missing, then check all."""
    from hookline.cli.topic_checks import create_missing, leave_with

    made, mistakes = create_missing(log, wait)
    for name in made:
        typer.echo(f"{name}  made")
    leave_with(mistakes)
    typer.echo("all topics are as they should be", err=True)


@app.command("check")
def check(*, log: LogPlace = "", wait: Wait = 0.0) -> None:
    """Tell whether the topics keep what is promised; exit code 78 where they do not."""
    from hookline.cli.topic_checks import check_all, leave_with

    leave_with(check_all(log, wait))
    typer.echo("all topics are as they should be", err=True)
