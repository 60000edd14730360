"""JSONata, bounded: the language of everything in a flow file that begins with `=`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jlens import Expression as Compiled
from jlens import JlensError

TIMEOUT_S: Final = 1.0
MAX_DEPTH: Final = 200
MAX_STEPS: Final = 2_000_000
MAX_BYTES: Final = 10_000_000
MAX_ITEMS: Final = 1_000_000


class ExpressionError(ValueError):
    """An expression that does not compile or cannot be evaluated: a sentence with why."""


# A path of plain names needs no evaluator: numbers pass through it untouched, where the
# evaluator would make doubles of them, and it costs a tenth.
PLAIN_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
KEYWORDS: Final = frozenset({"and", "or", "in", "true", "false", "null", "function"})


class _Mapped(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression."""

    source: str
    compiled: Compiled
    path: tuple[str, ...] | None

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The value over a scope; None where nothing matches. Raises ExpressionError."""
        if self.path is not None:
            try:
                return _walk(scope, self.path)
            except _Mapped:
                pass
        try:
            return self.compiled.evaluate(
                scope,
                timeout=TIMEOUT_S,
                max_depth=MAX_DEPTH,
                max_steps=MAX_STEPS,
                max_string_length=MAX_BYTES,
                max_array_length=MAX_ITEMS,
                max_result_size=MAX_BYTES,
            )
        except (JlensError, TypeError, ValueError, RecursionError) as error:
            raise ExpressionError(f"={self.source}: {error}") from error


def compile_expression(source: str) -> Expression:
    """Compile JSONata, without the leading `=`. Raises ExpressionError with the place."""
    try:
        return Expression(source, Compiled(source), _plain_path(source))
    except JlensError as error:
        place = f" at character {error.position}" if error.position is not None else ""
        raise ExpressionError(f"not a JSONata expression{place}: {error}") from error


def _plain_path(source: str) -> tuple[str, ...] | None:
    if not PLAIN_PATH.fullmatch(source):
        return None
    names = tuple(source.split("."))
    return None if KEYWORDS.intersection(names) else names


def _walk(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list | tuple):
            raise _Mapped
        else:
            return None
    return value
