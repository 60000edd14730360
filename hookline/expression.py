"""JSONata, bounded: the language of everything in a flow file that begins with `=`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from jlens import Expression as Compiled
from jlens import JlensError

MAX_DEPTH: Final = 200


class Limits(NamedTuple):
    """How much an evaluation may take; what is beyond is an ExpressionError."""

    timeout_s: float
    steps: int
    size: int
    items: int


STEP_LIMITS: Final = Limits(
    timeout_s=1.0, steps=2_000_000, size=10_000_000, items=1_000_000
)


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
    limits: Limits

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
                timeout=self.limits.timeout_s,
                max_depth=MAX_DEPTH,
                max_steps=self.limits.steps,
                max_string_length=self.limits.size,
                max_array_length=self.limits.items,
                max_result_size=self.limits.size,
            )
        except (JlensError, TypeError, ValueError, RecursionError) as error:
            raise ExpressionError(f"={self.source}: {error}") from error


def compile_expression(source: str, limits: Limits = STEP_LIMITS) -> Expression:
    """Compile JSONata, without the leading `=`. Raises ExpressionError with the place."""
    try:
        return Expression(source, Compiled(source), _plain_path(source), limits)
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
