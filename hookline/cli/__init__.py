"""The `hookline` command. Data goes to stdout, talk to stderr.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 conflict,
69 unavailable, 78 bad configuration.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli import (
    dead_letters,
    events,
    flow_states,
    flows,
    log,
    messages,
    rejections,
    services,
    topics,
    verify,
)
from hookline.cli.options import (
    DEFAULT_ADMIN,
    DEFAULT_GRPC,
    DEFAULT_HTTP,
    DEFAULT_ROUTER,
    AdminPort,
    GrpcPort,
    HttpPort,
    Router,
    Token,
)

SERVICES = ("up", "ingress", "router", "executor", "console")

app = typer.Typer(
    help="Takes any webhook, keeps it, and runs the flow it belongs to.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
flow_states.add_states(flows.app)
app.add_typer(flows.app, name="flows")
app.add_typer(events.app, name="events")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(rejections.app, name="rejections")
app.add_typer(topics.app, name="topics")
app.add_typer(log.app, name="log")
app.command("ingress")(services.ingress)
app.command("router")(services.router)
app.command("executor")(services.executor)
app.command("console")(services.console)
app.command("apply")(flows.apply)
app.command("send")(messages.send)
app.command("publish")(messages.publish)
app.command("verify")(verify.verify)


@app.command()
def up(
    *,
    data: Annotated[
        Path, typer.Option(envvar="HOOKLINE_DATA", help="Where the log is kept.")
    ] = Path(".hookline"),
    flows: Annotated[
        Path,
        typer.Option(envvar="HOOKLINE_FLOWS", help="Directory of flow files."),
    ] = Path("flows"),
    http: HttpPort = DEFAULT_HTTP,
    grpc: GrpcPort = DEFAULT_GRPC,
    admin: AdminPort = DEFAULT_ADMIN,
    executor: Annotated[
        bool,
        typer.Option(
            envvar="HOOKLINE_EXECUTOR", help="Run flows, or only take requests."
        ),
    ] = True,
) -> None:
    """Run everything in one process, on an embedded log."""
    from hookline.cli.hosting import Options
    from hookline.cli.up import run

    run(Options(data, flows, http, grpc, admin, executor=executor))


@app.command()
def health(
    context: typer.Context,
    *,
    admin: Annotated[
        str,
        typer.Option(envvar="HOOKLINE_ADMIN", help="Ask this admin port: HOST:PORT."),
    ] = "",
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Tell whether a service can do its work; exit code 69 where it cannot.

    It asks the admin port where one is named, and a router over gRPC otherwise.
    """
    source = context.get_parameter_source("router")
    if admin and (source is None or source.name != "COMMANDLINE"):
        from hookline.cli.probe import ask_readiness

        ask_readiness(admin)
    else:
        from hookline.cli.remote import check_health

        state = check_health(router, token)
        typer.echo(state)
        if state != "serving":
            raise typer.Exit(69)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    typer.echo(version_of("hookline"))


def main() -> None:
    """Run the command line; every mistake is a sentence and an exit code."""
    from hookline.errors import BadConfiguration, Error, Unavailable

    # gRPC's own lines say what ours say, in C's words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if not set(sys.argv[1:2]) & {*SERVICES, "verify"}:
        # A reader that has left ends a command as it ends any other tool. But of what
        # `verify` writes to, the ports, those that leave are the ones it looks at.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        app()
    except BadConfiguration as error:
        print(f"hookline: {error}", file=sys.stderr)  # noqa: T201 - talk on stderr
        sys.exit(78)
    except Unavailable as error:
        print(f"hookline: {error}", file=sys.stderr)  # noqa: T201 - talk on stderr
        sys.exit(69)
    except Error as error:
        print(f"hookline: {error}", file=sys.stderr)  # noqa: T201 - talk on stderr
        sys.exit(1)
