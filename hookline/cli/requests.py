"""A request as the commands show it."""

import base64
from typing import Any

import typer


def request_row(request: Any) -> dict[str, Any]:
    """Its head, and its body as text where it is text."""
    return {
        "request_id": request.request_id,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "remote": request.remote,
        "headers": [
            [header.name.decode("latin-1"), header.value.decode("latin-1")]
            for header in request.headers
        ],
        **_content(request),
    }


def _content(request: Any) -> dict[str, Any]:
    """The body, or where the body store has it."""
    if request.HasField("stored_body"):
        stored = request.stored_body
        place = {"name": stored.name, "size": stored.size}
        return {"stored_body": {**place, "sha256": stored.sha256.hex()}}
    try:
        return {"body": request.body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(request.body).decode()}


def refuse_stored(request: Any) -> None:
    """Say where a body is that is not with its event, and end with 1."""
    if request.HasField("stored_body"):
        stored = request.stored_body
        typer.echo(
            f"hookline: this body of {stored.size} bytes is in the body store, under the "
            f"name {stored.name}: read it there",
            err=True,
        )
        raise typer.Exit(1)
