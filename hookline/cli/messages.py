"""hookline send, hookline publish: start a flow from the command line."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hookline.cli.options import DEFAULT_ROUTER, Router, Token

Data = Annotated[
    str | None,
    typer.Option(
        "--data", "-d", help="The body; @FILE reads a file, without it stdin."
    ),
]
ContentType = Annotated[
    str, typer.Option("--content-type", "-t", help="Media type of the body.")
]


def send(
    flow_id: str,
    *,
    data: Data = None,
    content_type: ContentType = "application/json",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="NAME: VALUE")
    ] = None,
    method: Annotated[str, typer.Option("--method", "-X")] = "POST",
    url: Annotated[
        str, typer.Option(envvar="HOOKLINE_URL", help="Where webhooks are taken.")
    ] = "http://127.0.0.1:8080",
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Send a webhook, with the credential that the flow asks for.

    The flow's trigger is asked of the running instance; the secrets it names are taken
    from this command's own environment.
    """
    from hookline.cli.sending import Webhook, send_webhook

    if not re.fullmatch(r"[A-Za-z]+", method):
        typer.echo(f"hookline: {method!r} is no method: POST, GET, …", err=True)
        raise typer.Exit(2)
    headers = [pair_of(text) for text in header or []]
    webhook = Webhook(flow_id, method, url, content_type, body_of(data), headers)
    status, text = send_webhook(webhook, router, token)
    typer.echo(text)
    if status >= 400:  # noqa: PLR2004 - the border of HTTP's errors
        raise typer.Exit(69 if status == 503 else 1)  # noqa: PLR2004


def publish(
    flow_id: str,
    *,
    data: Data = None,
    content_type: ContentType = "application/json",
    router: Router = DEFAULT_ROUTER,
    token: Token = "",
) -> None:
    """Start a flow over gRPC, as an internal service does; prints the event's id."""
    from hookline.cli.remote import TIMEOUT_S, Metadata, call
    from hookline.v1 import publish_pb2, publish_pb2_grpc

    request = publish_pb2.PublishRequest(
        flow_id=flow_id, content_type=content_type, body=body_of(data)
    )

    async def ask(channel: Any, metadata: Metadata) -> Any:
        return await publish_pb2_grpc.PublishServiceStub(channel).Publish(
            request, metadata=metadata, timeout=TIMEOUT_S
        )

    typer.echo(call(router, token, ask).event_id)


def body_of(data: str | None) -> bytes:
    """The body that `--data` names. Exits with 2 where its file cannot be read."""
    if data is None:
        return b"{}" if sys.stdin.isatty() else sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        typer.echo(f"hookline: cannot read {data[1:]}: {error.strerror}", err=True)
        raise typer.Exit(2) from error


def pair_of(text: str) -> tuple[str, str]:
    """A header as `--header` has it. Exits with 2 where it is none."""
    name, colon, value = text.partition(":")
    if not colon:
        typer.echo(f"hookline: write headers as NAME: VALUE, not {text!r}", err=True)
        raise typer.Exit(2)
    return name.strip(), value.strip()
