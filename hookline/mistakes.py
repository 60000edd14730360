"""pydantic's findings as sentences for the person who wrote the file."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

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
    found = [(_place(one["loc"]), one) for one in error.errors()]
    misspelt = {
        (*place[:-1], near)
        for place, one in found
        if one["type"] == "extra_forbidden"
        for near in _nearest(str(place[-1]), _fields_at(model, place[:-1]))
    }
    for place, one in found:
        if one["type"] != "missing" or place not in misspelt:
            yield place, _sentence(model, place, one)


def nearest(name: str, names: Sequence[str]) -> str:
    """A suggestion for a name that does not exist, or all that do."""
    for near in _nearest(name, names):
        return f"did you mean {near!r}?"
    return f"there are {', '.join(sorted(names))}" if names else "there are none"


def _sentence(model: type[BaseModel], place: Place, one: Mapping[str, Any]) -> str:
    context = one.get("ctx", {})
    match one["type"]:
        case "extra_forbidden":
            known = _fields_at(model, place[:-1])
            return f"unknown field {place[-1]!r}: {nearest(str(place[-1]), known)}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            return PATTERNS.get(context["pattern"], str(one["msg"]))
        case kind if kind in SENTENCES:
            return SENTENCES[kind].format(**context)
    return str(one["msg"])


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, names, 1)


def _place(location: Place) -> Place:
    """A location without the parts that name the branch of a union, not a field."""
    return tuple(part for part in location if part not in TAGS)


TAGS = frozenset({"none", "basic", "api_key", "hmac", "standard", "bearer"})


def _fields_at(model: Any, place: Place) -> list[str]:
    """The names of the fields that a place may hold."""
    candidates = _models(model)
    for part in place:
        if isinstance(part, int):
            continue
        candidates = [
            inner
            for candidate in candidates
            for name, field in candidate.model_fields.items()
            if part in (name, field.alias)
            for inner in _models(field.annotation)
        ]
    return sorted(
        {
            field.alias or name
            for candidate in candidates
            for name, field in candidate.model_fields.items()
        }
    )


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]
