"""Prints rows as a table, as JSON, or as JSON lines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import typer

from hookline.cli.options import Form

Row = Mapping[str, Any]


def time_json(microseconds: int) -> str:
    """A moment as RFC 3339 in UTC."""
    moment = datetime.fromtimestamp(microseconds / 1e6, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show(form: Form, rows: Sequence[Row], columns: Sequence[str], empty: str) -> None:
    """Print rows; `empty` is for a person who sees none."""
    match form:
        case Form.JSON:
            typer.echo(json_text(list(rows)))
        case Form.JSONL:
            for row in rows:
                typer.echo(msgspec.json.encode(row).decode())
        case Form.TABLE if rows:
            _table(rows, columns)
        case Form.TABLE:
            typer.echo(empty, err=True)


def json_text(value: Any) -> str:
    """JSON for a person to read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    table = [[column.upper().replace("_", " ") for column in columns], *cells]
    widths = [max(len(line[at]) for line in table) for at in range(len(columns))]
    for line in table:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        typer.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case list():
            return " ".join(map(str, value))
        case _:
            return msgspec.json.encode(value).decode()
