"""Parameters as a flow file writes them: literals, expressions, secrets, at any depth.

A string that begins with `=` is an expression, `==` stands for a literal `=`.
`${secret:NAME}` inside a literal is replaced when the value is used. An expression never
sees secrets.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from hookline.errors import TerminalError
from hookline.event import Attachment, Message, Value
from hookline.expression import (
    STEP_LIMITS,
    Expression,
    ExpressionError,
    Limits,
    compile_expression,
)
from hookline.secrets import NAME, REFERENCE

Scope = Mapping[str, Any]
Lookup = Callable[[str], str]
Renderer = Callable[[Scope, Lookup], Value]


def scope_of(message: Message) -> Scope:
    """What an expression sees of a message."""
    run = message.run
    trigger = run.trigger
    return {
        "body": message.body,
        "headers": message.headers,
        "status": message.status,
        "query": trigger.query,
        "method": trigger.method,
        "path": trigger.path,
        "attachments": _described(message.attachments) if message.attachments else {},
        "steps": run.steps,
        "vars": run.variables,
        "trigger": {
            "body": trigger.body,
            "headers": trigger.headers,
            "query": trigger.query,
            "method": trigger.method,
            "path": trigger.path,
        },
        "event": {"id": run.event_id, "accepted_at_ms": run.accepted_at_us // 1000},
        "flow": {
            "id": run.flow_id,
            "version": run.flow_version,
            "name": run.flow_name,
        },
    }


def _described(attachments: Mapping[str, Attachment]) -> Value:
    return {
        name: {
            "content_type": attachment.content_type,
            "size": attachment.size,
            "sha256": attachment.content.sha256,
        }
        for name, attachment in attachments.items()
    }


def no_secrets(name: str) -> str:
    """Stand in for a secret while a flow is only checked."""
    return f"<secret {name}>"


@dataclass(frozen=True, slots=True)
class Template:
    """A parameter, compiled when its flow is loaded.

    In a pydantic model it validates from any JSON value; the validation context may hold
    `secret`, the function that looks secrets up by name.
    """

    source: Value
    renderer: Renderer
    lookup: Lookup
    secret_names: frozenset[str]

    @classmethod
    def compile(
        cls, source: Value, lookup: Lookup = no_secrets, limits: Limits = STEP_LIMITS
    ) -> Self:
        """Compile a value. Raises ValueError with what is wrong."""
        names = frozenset(secret_names_in(source))
        return cls(source, _compile(source, limits), lookup, names)

    def value(self, message: Message) -> Value:
        """The value for a message. Raises TerminalError where it cannot be computed."""
        try:
            return self.renderer(scope_of(message), self.lookup)
        except ExpressionError as error:
            raise TerminalError(str(error)) from error

    def text(self, message: Message) -> str:
        """The value as text; numbers are written out. Raises TerminalError for others."""
        value = self.value(message)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TerminalError(
                f"{self.source!r} gives {_kind(value)} where text is needed"
            )
        return str(value)

    def truth(self, message: Message) -> bool:
        """The value as true or false; nothing is false. TerminalError for others."""
        value = self.value(message)
        if value is not None and not isinstance(value, bool):
            raise TerminalError(
                f"{self.source!r} gives {_kind(value)} where true or false is needed"
            )
        return bool(value)

    def resolve(self, lookup: Lookup) -> str:
        """A literal's text with its secrets in place. Raises MissingSecret."""
        return str(self.renderer({}, lookup))

    @property
    def is_expression(self) -> bool:
        """Whether it is an expression as a whole."""
        return _is_expression(self.source)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._validate)

    @classmethod
    def _validate(cls, source: Value, info: ValidationInfo) -> Self:
        lookup = (info.context or {}).get("secret", no_secrets)
        return cls.compile(source, lookup)


def _kind(value: Value) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _is_expression(source: Value) -> bool:
    return (
        isinstance(source, str)
        and source.startswith("=")
        and not source.startswith("==")
    )


def secret_names_in(source: Value) -> Iterator[str]:
    """The names of the secrets that a value names, at any depth."""
    match source:
        case str() if not _is_expression(source):
            yield from REFERENCE.findall(source)
        case dict():
            for item in source.values():
                yield from secret_names_in(item)
        case list():
            for item in source:
                yield from secret_names_in(item)


def has_expression(source: Value) -> bool:
    """Whether a value has an expression, at any depth."""
    match source:
        case dict():
            return any(map(has_expression, source.values()))
        case list():
            return any(map(has_expression, source))
        case _:
            return _is_expression(source)


def _compile(source: Value, limits: Limits) -> Renderer:
    match source:
        case str():
            return _compile_text(source, limits)
        case dict():
            parts = {str(key): _compile(item, limits) for key, item in source.items()}
            return lambda scope, secret: {
                key: part(scope, secret) for key, part in parts.items()
            }
        case list():
            items = [_compile(item, limits) for item in source]
            return lambda scope, secret: [item(scope, secret) for item in items]
        case _:
            return lambda _scope, _secret: source


def _compile_text(source: str, limits: Limits) -> Renderer:
    if _is_expression(source):
        return partial(_evaluate, _compiled(source, limits))
    literal = source[1:] if source.startswith("==") else source
    for name in REFERENCE.findall(literal):
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is not a name for a secret: use letters, digits and _"
            )
    if "${secret:" in literal:
        return lambda _scope, secret: REFERENCE.sub(
            lambda found: secret(found[1]), literal
        )
    return lambda _scope, _secret: literal


def _compiled(source: str, limits: Limits) -> Expression:
    if "${secret:" in source:
        raise ValueError(
            "an expression cannot name a secret: give the secret a parameter of its own"
        )
    return compile_expression(source[1:], limits)


def _evaluate(expression: Expression, scope: Scope, _secret: Lookup) -> Value:
    return expression.evaluate(scope)
