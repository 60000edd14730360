"""Options that several commands share."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_HTTP = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:8081"
DEFAULT_GRPC = DEFAULT_ROUTER = "127.0.0.1:50052"
DEFAULT_CONSOLE = "127.0.0.1:50053"
HttpPort = Annotated[
    str, typer.Option(envvar="HOOKLINE_HTTP", help="Public port: HOST:PORT.")
]
GrpcPort = Annotated[
    str, typer.Option(envvar="HOOKLINE_GRPC", help="Port for internal services.")
]
AdminPort = Annotated[
    str, typer.Option(envvar="HOOKLINE_ADMIN", help="Port for health and metrics.")
]
LogPlace = Annotated[
    str,
    typer.Option(
        envvar="HOOKLINE_LOG",
        help="Where the log is: kafka://HOST:PORT,HOST:PORT, or sqlite:DIR of one process.",
    ),
]
Router = Annotated[
    str,
    typer.Option(envvar="HOOKLINE_ROUTER", help="A running instance: HOST:PORT."),
]
Token = Annotated[
    str,
    typer.Option(
        envvar="HOOKLINE_TOKEN",
        help="Bearer token; by default the file `token` in the data directory.",
    ),
]


class Form(Enum):
    """How a command prints what it has found."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


Output = Annotated[Form, typer.Option("--output", "-o", help="How to print.")]
TOKEN_FILE = "token"  # noqa: S105 - a file's name


def data_directory() -> Path:
    """Where the local instance keeps its data."""
    import os

    return Path(os.environ.get("HOOKLINE_DATA", ".hookline"))
