"""Options that several commands share."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_ROUTER = "127.0.0.1:50052"
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
