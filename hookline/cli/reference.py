"""The reference of flags and settings, as Markdown, made from what reads them.

`make docs` writes it to docs/settings.md; a test holds that it is up to date.
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from hookline.cli import app
from hookline.settings import MIB, PREFIX, Settings

INTRODUCTION = """\
# Flags and settings

This page is made by `make docs` from the code that reads them.

Flags of commands have a twin in the environment; what stands on the command line wins.
Everything else is a setting, `HOOKLINE_<SECTION>__<NAME>`, read once at the start. All
services know the same settings and take what is theirs, so one set of variables may serve
them all. Lists are separated by commas. A name that is none, and a value that cannot be
used, are refused at the start: all mistakes at once, without the values, exit code 78.

The secrets that flows name are `HOOKLINE_SECRET_<NAME>`, or files `<NAME>` in the
directory `HOOKLINE_SECRETS_DIR`.
"""
EXIT_CODES = """\
## Exit codes

| code | when |
|---|---|
| 0 | done; of a service: stopped by SIGTERM or SIGINT, and what it had taken is answered |
| 1 | failed |
| 2 | wrong usage |
| 3 | not found |
| 4 | not allowed |
| 5 | conflict |
| 69 | the router, or the log, does not answer |
| 78 | a flag, a setting, a port, a directory or a topic cannot be used as it is |
"""
BOUNDS = {"gt": "above", "ge": "from", "le": "to"}


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## Flags\n", _flags(), "## Settings\n"]
    for name, field in Settings.model_fields.items():
        section: Any = field.annotation
        parts.append(f"### {name.upper()}\n\n{section.__doc__}\n")
        parts.append(_settings(name, section.model_fields))
    return "\n".join([*parts, EXIT_CODES])


def twins() -> set[str]:
    """The environment variables that are twins of flags."""
    return {option.envvar for _, option in _options() if option.envvar}


def _flags() -> str:
    commands_by_row: dict[tuple[str, ...], list[str]] = {}
    for command, option in _options():
        if option.envvar:
            names = " ".join(
                f"`{name}`" for name in [*option.opts, *option.secondary_opts]
            )
            row = (names, f"`{option.envvar}`", _shown(option.default), option.help)
            commands_by_row.setdefault(row, []).append(command)
    lines = [
        "| flag | environment | of | default | what |",
        "|---|---|---|---|---|",
    ]
    for (names, variable, default, text), commands in commands_by_row.items():
        of = ", ".join(commands)
        lines.append(f"| {names} | {variable} | {of} | {default} | {text} |")
    return "\n".join([*lines, ""])


def _options() -> Iterator[tuple[str, Any]]:
    """Every option of every command, with the command's name."""
    top: Any = typer.main.get_command(app)
    for name, command in top.commands.items():
        inner = getattr(command, "commands", None)
        pairs = (
            {name: command}
            if inner is None
            else {f"{name} {one}": below for one, below in inner.items()}
        )
        for full_name, one in pairs.items():
            for option in one.params:
                if hasattr(option, "secondary_opts"):
                    yield full_name, option


def _settings(section: str, fields: dict[str, FieldInfo]) -> str:
    lines = ["| setting | type | default | what |", "|---|---|---|---|"]
    for name, field in fields.items():
        variable = f"`{PREFIX}{section}__{name}`".upper()
        kind = _kind(field)
        default = _shown(field.default)
        lines.append(f"| {variable} | {kind} | {default} | {field.description} |")
    return "\n".join([*lines, ""])


def _kind(field: FieldInfo) -> str:
    """The type in words, with its bounds."""
    found = str(field.annotation)
    match field.annotation:
        case type() as kind if kind is bool:
            text = "true or false"
        case type() as kind if kind in (int, float):
            text = "whole number" if kind is int else "number"
        case _ if "Literal" in found:
            choices = getattr(field.annotation, "__args__", ())
            text = ", ".join(f"`{one}`" for one in choices if one)
        case _ if "SecretStr" in found:
            text = "secrets" if "tuple" in found else "secret"
        case _ if "tuple" in found:
            text = "networks"
        case _ if "int" in found:
            text = "whole number"
        case _:
            text = "text"
    return " ".join([text, *_bounds(field)])


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        for attribute, word in BOUNDS.items():
            if (value := getattr(bound, attribute, None)) is not None:
                yield f"{word} {value}"


def _shown(value: Any) -> str:
    match value:
        case None | "" | () | SecretStr():
            return ""
        case bool():
            return str(value).lower()
        case int() if value >= MIB and value % MIB == 0:
            return f"{value} ({value // MIB} MiB)"
        case _:
            return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
