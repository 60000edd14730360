"""The kinds of fields that flow files are made of: durations, sizes, names of headers."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hookline.event import Value

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNITS_BYTES = {"": 1, "b": 1, "kb": 1000, "mb": 10**6, "kib": 1024, "mib": 1024**2}
UNITS_BYTES |= {"gb": 10**9, "gib": 1024**3}
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"


class Model(BaseModel):
    """Base of a flow file's models: frozen, and strict about names."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )


def duration_s(text: Value) -> float:
    """Seconds from "20s", "1.5m", "200ms" or a number of seconds."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d)", str(text))
    if found is None:
        raise ValueError('write a duration like "20s", "5m" or "200ms"')
    return float(found[1]) * UNITS_S[found[2]]


def size_bytes(text: Value) -> int:
    """Bytes from "1MB", "256KiB" or a number of bytes."""
    found = re.fullmatch(r"(\d+) ?([kKmMgG]?i?[bB]?)", str(text))
    if found is None or found[2].lower() not in UNITS_BYTES:
        raise ValueError('write a size like "1MB", "256KiB" or a number of bytes')
    return int(found[1]) * UNITS_BYTES[found[2].lower()]


def as_list(value: Value) -> Value:
    """A list, where one thing may stand for a list of one."""
    return value if isinstance(value, list) else [value]


Duration = Annotated[float, BeforeValidator(duration_s), Field(gt=0)]
