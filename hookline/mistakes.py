"""pydantic's findings as sentences for the person who wrote the file."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Place = tuple[str | int, ...]
SENTENCES = {
    "missing": "this field is needed",
    "string_type": "this must be text",
    "string_too_short": "this must not be empty",
    "int_type": "this must be a whole number",
    "int_parsing": "this must be a whole number",
    "float_type": "this must be a number",
    "float_parsing": "this must be a number",
    "bool_type": "this must be true or false",
    "bool_parsing": "this must be true or false",
    "model_type": "this must be an object with fields",
    "model_attributes_type": "this must be an object with fields",
    "dict_type": "this must be an object with fields",
    "mapping_type": "this must be an object with fields",
    "tuple_type": "this must be a list",
    "list_type": "this must be a list",
    "too_short": "this must have at least {min_length} item",
    "greater_than": "this must be more than {gt}",
    "greater_than_equal": "this must be at least {ge}",
    "less_than_equal": "this must be at most {le}",
    "literal_error": "this must be {expected}",
    "union_tag_not_found": "this needs a type: one of {expected_tags}",
    "union_tag_invalid": "there is no type {tag!r}: take one of {expected_tags}",
}
PATTERNS = {
    r"^[A-Za-z0-9_-]{1,64}$": "use 1 to 64 letters, digits, - and _",
    r"^[^:]+$": "a user name has no colon",
}


def sentences(
    model: type[BaseModel], error: ValidationError
) -> Iterator[tuple[Place, str]]:
    """Each finding with the place of its field, as the file names it.

    A field that is missing because its name is misspelt is one mistake, not two.
    """
    found = [_Finding.of(model, one) for one in error.errors()]
    misspelt = {
        (*one.place[:-1], near)
        for one in found
        if one.kind == "extra_forbidden"
        for near in _nearest(str(one.place[-1]), one.known)
    }
    for one in found:
        if one.kind == "missing" and one.place in misspelt:
            continue
        if one.kind == "too_short" and _has_inner(one.place, found):
            continue  # items with mistakes are not counted: they are what is wrong
        yield one.place, _sentence(one)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What pydantic has found; `known` are the fields that stand beside an unknown."""

    place: Place
    kind: str
    text: str
    context: Mapping[str, Any]
    known: Sequence[str]

    @classmethod
    def of(cls, model: type[BaseModel], one: Mapping[str, Any]) -> Self:
        location = one["loc"]
        unknown = location[-1:] if one["type"] == "extra_forbidden" else ()
        place, models = _walk(model, location[: len(location) - len(unknown)])
        context = one.get("ctx", {})
        return cls(
            (*place, *unknown), one["type"], str(one["msg"]), context, _fields(models)
        )


def _has_inner(place: Place, found: Sequence[_Finding]) -> bool:
    depth = len(place)
    return any(len(one.place) > depth and one.place[:depth] == place for one in found)


def nearest(name: str, names: Sequence[str]) -> str:
    """A suggestion for a name that does not exist, or all that do."""
    for near in _nearest(name, names):
        return f"did you mean {near!r}?"
    return f"there are {', '.join(sorted(names))}" if names else "there are none"


def _sentence(one: _Finding) -> str:
    match one.kind:
        case "extra_forbidden":
            name = str(one.place[-1])
            return f"unknown field {name!r}: {nearest(name, one.known)}"
        case "value_error":
            return str(one.context["error"])
        case "string_pattern_mismatch":
            return PATTERNS.get(one.context["pattern"], one.text)
        case kind if kind in SENTENCES:
            return SENTENCES[kind].format(**one.context)
    return one.text


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, names, 1)


def _walk(model: Any, location: Place) -> tuple[Place, list[type[BaseModel]]]:
    """The place that a location means, and the models that may stand there.

    A location also names the branch of each union on its way; a place does not.
    """
    models = _models(model)
    place: list[str | int] = []
    for part in location:
        fields = [] if isinstance(part, int) else _fields_named(models, str(part))
        if not fields and (branch := [one for one in models if _tag(one) == part]):
            models = branch
            continue
        place.append(part)
        if not isinstance(part, int):
            models = [inner for field in fields for inner in _models(field.annotation)]
    return tuple(place), models


def _fields_named(models: Sequence[type[BaseModel]], name: str) -> list[FieldInfo]:
    return [
        field
        for model in models
        for own_name, field in model.model_fields.items()
        if name in (own_name, field.alias)
    ]


def _tag(model: type[BaseModel]) -> str | None:
    """The value of `type` that picks a model among others."""
    field = model.model_fields.get("type")
    values = get_args(field.annotation) if field else ()
    return values[0] if len(values) == 1 else None


def _fields(models: Sequence[type[BaseModel]]) -> list[str]:
    return sorted(
        {
            field.alias or name
            for model in models
            for name, field in model.model_fields.items()
        }
    )


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]
