"""Which tests say that they hold a row of the security table, read from their source."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

TESTS = Path(__file__).parent.parent


def rows_by_place() -> Mapping[str, list[str]]:
    """The rows that are named, by file and line, in all the tests."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(TESTS.rglob("*.py")):
        for line, row in rows_in(file.read_text()):
            found[f"{file.relative_to(TESTS)}:{line}"].append(row)
    return found


def rows_in(source: str) -> Iterator[tuple[int, str]]:
    """The rows that a file's tests name, each with the line of its mark."""
    for node in ast.walk(ast.parse(source)):
        for mark in _marks_of(node):
            for argument in mark.args:
                for row in _rows_of(ast.literal_eval(argument)):
                    yield mark.lineno, row


def _rows_of(text: str) -> Iterator[str]:
    """A row, or all from one to another: "S01-S12"."""
    first, dash, last = text.partition("-")
    if not dash:
        yield text
        return
    for number in range(int(first[1:]), int(last[1:]) + 1):
        yield f"S{number:02}"


def _marks_of(node: ast.AST) -> Iterator[ast.Call]:
    """The marks where pytest looks for them: of a test, of a case, of a whole module."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            if node.name.startswith("test_"):
                yield from filter(_is_mark, node.decorator_list)
        case ast.keyword(arg="marks", value=value):
            yield from filter(_is_mark, ast.walk(value))
        case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
            yield from filter(_is_mark, ast.walk(value))


def _is_mark(node: ast.AST) -> TypeGuard[ast.Call]:
    match node:
        case ast.Call(
            func=ast.Attribute(
                attr="security",
                value=ast.Attribute(attr="mark", value=ast.Name(id="pytest")),
            )
        ):
            return True
    return False
