"""hookline flows suspend | resume | stop | start | delete | versions | rollback."""

from typing import Annotated, Any

import typer

from hookline.cli.flows import STATES
from hookline.cli.options import DEFAULT_ROUTER, Form, Output, Router, Token

VERSION_COLUMNS = ("version", "applied_at", "current", "rolled_back_to", "name")


def add_states(app: typer.Typer) -> None:
    """Add the commands to those of flows."""
    for name, command in (
        ("suspend", suspend),
        ("resume", resume),
        ("stop", stop),
        ("start", start),
        ("delete", delete),
        ("versions", versions),
        ("rollback", roll_back),
    ):
        app.command(name)(command)


def suspend(
    flow_id: str, *, router: Router = DEFAULT_ROUTER, token: Token = ""
) -> None:
    """Accept and keep a flow's requests, and start no step of it, until `resume`.

    A step that is running ends; the event goes on behind it afterwards.
    """
    _decide("Suspend", router, token, flow_id=flow_id)


def resume(flow_id: str, *, router: Router = DEFAULT_ROUTER, token: Token = "") -> None:
    """Have a suspended flow go on where it was, in order."""
    _decide("Resume", router, token, flow_id=flow_id)


def stop(flow_id: str, *, router: Router = DEFAULT_ROUTER, token: Token = "") -> None:
    """Refuse a flow's requests with 404, and start no step of it, until `start`.

    What was accepted is kept.
    """
    _decide("Stop", router, token, flow_id=flow_id)


def start(flow_id: str, *, router: Router = DEFAULT_ROUTER, token: Token = "") -> None:
    """Have a stopped flow take requests again, and go on where it was, in order."""
    _decide("Start", router, token, flow_id=flow_id)


def delete(
    flow_id: str,
    *,
    discard: Annotated[
        bool,
        typer.Option(
            "--discard",
            help="Run nothing more of it: what was accepted goes to the dead letters.",
        ),
    ] = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Refuse a flow's requests with 404; what was accepted runs to its end.

    Applying the flow again, or `rollback`, brings it back, with all its versions.
    """
    _decide("Delete", router, token, flow_id=flow_id, discard=discard)


def _decide(verb: str, router: str, token: str, **asked: Any) -> None:
    """Call a method of FlowService, and print what the flow is then."""
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import flow_pb2, flow_pb2_grpc

    async def send(channel: Any, metadata: Metadata) -> Any:
        method = getattr(flow_pb2_grpc.FlowServiceStub(channel), f"{verb}Flow")
        request = getattr(flow_pb2, f"{verb}FlowRequest")(**asked)
        return await method(request, metadata=metadata, timeout=TIMEOUT_S)

    answer = call(router, token, send)
    state = STATES[answer.flow.state]
    done = "" if answer.changed else "  unchanged"
    typer.echo(f"{answer.flow.flow_id}  {state}{done}")


def versions(
    flow_id: str,
    *,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """All versions of a flow, newest first; of a deleted one, too."""
    from hookline.cli.output import show
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import flow_pb2, flow_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await flow_pb2_grpc.FlowServiceStub(channel).ListFlowVersions(
            flow_pb2.ListFlowVersionsRequest(flow_id=flow_id),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    rows = [_version_row(one) for one in call(router, token, ask).versions]
    show(output, rows, VERSION_COLUMNS, "no versions")


def roll_back(
    flow_id: str,
    *,
    to: Annotated[
        int,
        typer.Option(
            min=0,
            help="This version; by default the one before the current one, and of a "
            "deleted flow its last.",
        ),
    ] = 0,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Apply the definition of an older version as a new version.

    A deleted flow comes back with it. Events that are accepted keep their versions.
    """
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import flow_pb2, flow_pb2_grpc

    async def send(channel: Any, metadata: Metadata) -> Any:
        return await flow_pb2_grpc.FlowServiceStub(channel).RollBackFlow(
            flow_pb2.RollBackFlowRequest(flow_id=flow_id, version=to),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, send)
    flow = answer.flow
    done = f"as version {answer.rolled_back_to}" if flow.changed else "unchanged"
    typer.echo(f"{flow.flow_id}  version {flow.version}  {done}")


def _version_row(one: Any) -> dict[str, Any]:
    from hookline.cli.output import time_json

    row = {
        "version": one.version,
        "name": one.name,
        "applied_at": time_json(one.applied_at_us),
        "current": one.current,
    }
    if one.rolled_back_to:
        row["rolled_back_to"] = one.rolled_back_to
    return row
