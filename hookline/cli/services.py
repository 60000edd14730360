"""hookline ingress, router, executor, console: each service as a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.options import (
    DEFAULT_ADMIN,
    DEFAULT_CONSOLE,
    DEFAULT_GRPC,
    DEFAULT_HTTP,
    DEFAULT_ROUTER,
    AdminPort,
    GrpcPort,
    HttpPort,
    LogPlace,
    Router,
)

Workers = Annotated[
    int,
    typer.Option(
        min=1,
        max=256,
        envvar="HOOKLINE_WORKERS",
        help="Processes that share the public port.",
    ),
]


def ingress(
    *,
    http: HttpPort = DEFAULT_HTTP,
    router: Router = DEFAULT_ROUTER,
    workers: Workers = 1,
    admin: AdminPort = DEFAULT_ADMIN,
) -> None:
    """Take webhooks and hand them to routers."""
    if workers > 1:
        from hookline.cli.workers import WorkersOptions, run_workers

        run_workers(WorkersOptions(http, router, admin, workers))
    else:
        from hookline.cli.ingress import IngressOptions, run_ingress

        run_ingress(IngressOptions(http, router, admin))


def router(
    *,
    grpc: GrpcPort = DEFAULT_GRPC,
    log: LogPlace = "",
    admin: AdminPort = DEFAULT_ADMIN,
) -> None:
    """Check senders, keep events, and answer internal callers."""
    from hookline.cli.router import RouterOptions, run_router

    run_router(RouterOptions(grpc, log, admin))


def executor(*, log: LogPlace = "", admin: AdminPort = DEFAULT_ADMIN) -> None:
    """Run the flows of the events in the log."""
    from hookline.cli.executor import ExecutorOptions, run_executor

    run_executor(ExecutorOptions(log, admin))


def console(
    *,
    grpc: GrpcPort = DEFAULT_CONSOLE,
    log: LogPlace = "",
    data: Annotated[
        Path,
        typer.Option(envvar="HOOKLINE_DATA", help="Where the index of events is kept."),
    ] = Path(".hookline"),
    admin: AdminPort = DEFAULT_ADMIN,
) -> None:
    """Show events and dead letters of a log on Kafka, and act on them; one instance."""
    from hookline.cli.console import ConsoleOptions, run_console

    run_console(ConsoleOptions(grpc, log, data, admin))
