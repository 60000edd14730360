"""hookline apply, hookline flows list | get | versions | rollback."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hookline.cli.options import DEFAULT_ROUTER, Form, Output, Router, Token

app = typer.Typer(
    help="Flows: what there is, its versions, and whether it runs.",
    no_args_is_help=True,
)
SUFFIXES = (".yaml", ".yml", ".json")
STATES = {1: "active", 2: "inactive", 3: "suspended", 4: "stopped", 5: "deleted"}


def apply(
    *,
    file: Annotated[
        list[Path],
        typer.Option("--file", "-f", help="A flow file, or a directory of them."),
    ],
    dry_run: Annotated[bool, typer.Option(help="Check only.")] = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Check flow files and apply them all, or none where one has a mistake."""
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import flow_pb2, flow_pb2_grpc

    files = [
        flow_pb2.FlowFile(file_name=str(path), content=_content(path))
        for path in flow_files(file)
    ]

    async def send(channel: Any, metadata: Metadata) -> Any:
        return await flow_pb2_grpc.FlowServiceStub(channel).ApplyFlows(
            flow_pb2.ApplyFlowsRequest(files=files, dry_run=dry_run),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, send)
    for mistake in answer.mistakes:
        place = ":".join(filter(None, (mistake.file_name, str(mistake.line or ""))))
        field = f" {mistake.field}:" if mistake.field else ""
        typer.echo(f"{place}:{field} {mistake.text}", err=True)
    if answer.mistakes:
        typer.echo("nothing was applied", err=True)
        raise typer.Exit(1)
    if dry_run:
        typer.echo(f"{len(files)} flow file{'s'[: len(files) != 1]} without a mistake")
    for flow in answer.flows:
        done = "applied" if flow.changed else "unchanged"
        typer.echo(f"{flow.flow_id}  version {flow.version}  {done}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        typer.echo(f"hookline: cannot read {path}: {error.strerror}", err=True)
        raise typer.Exit(1) from error


def flow_files(places: list[Path]) -> list[Path]:
    """The flow files at places, directories looked into. Exits where there are none."""
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            files += sorted(p for p in place.iterdir() if p.suffix in SUFFIXES)
        elif place.is_file():
            files.append(place)
        else:
            typer.echo(f"hookline: there is no file {place}", err=True)
            raise typer.Exit(3)
    if not files:
        typer.echo("hookline: no flow files (.yaml, .yml, .json) there", err=True)
        raise typer.Exit(3)
    return files


@app.command("list")
def list_flows(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Deleted flows, too.")
    ] = False,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
    output: Output = Form.TABLE,
) -> None:
    """All flows, with their state."""
    from hookline.cli.output import show
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import flow_pb2, flow_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await flow_pb2_grpc.FlowServiceStub(channel).ListFlows(
            flow_pb2.ListFlowsRequest(deleted=everything),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    rows = [_row(flow) for flow in call(router, token, ask).flows]
    columns = ("flow", "state", "version", "methods", "missing_secrets", "name")
    show(output, rows, columns, "no flows yet: hookline apply -f DIR")


@app.command("get")
def get_flow(
    flow_id: str,
    *,
    version: Annotated[
        int, typer.Option(min=0, help="This version; by default the current one.")
    ] = 0,
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """One flow with its definition, as JSON."""
    import msgspec

    from hookline.cli.output import json_text, time_json
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import flow_pb2, flow_pb2_grpc

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await flow_pb2_grpc.FlowServiceStub(channel).GetFlow(
            flow_pb2.GetFlowRequest(flow_id=flow_id, version=version),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )

    answer = call(router, token, ask)
    definition = msgspec.json.decode(answer.flow.definition)
    row = {**_row(answer.summary), "definition": definition}
    if version:
        row |= {"version": version, "applied_at": time_json(answer.flow.applied_at_us)}
    typer.echo(json_text(row))


def _row(flow: Any) -> dict[str, Any]:
    from hookline.cli.output import time_json

    row = {
        "flow": flow.flow_id,
        "name": flow.name,
        "state": STATES[flow.state],
        "version": flow.version,
        "methods": list(flow.methods),
        "missing_secrets": list(flow.missing_secrets),
        "applied_at": time_json(flow.applied_at_us),
    }
    if flow.decided_at_us:
        row["state_decided_at"] = time_json(flow.decided_at_us)
    if flow.discarded:
        row["discarded"] = True
    return row
