"""Settings, read once from the environment: `HOOKLINE_<SECTION>__<NAME>`.

Lists are separated by commas. All mistakes are reported together, by name, without the
values.
"""

import difflib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hookline.errors import BadConfiguration

PREFIX = "HOOKLINE_"
SECRET = "HOOKLINE_SECRET_"  # noqa: S105 - the prefix of their names
# What the environment may hold besides: the flags' twins, and where secrets are.
FLAGS = frozenset(
    PREFIX + name
    for name in (
        *("DATA", "FLOWS", "HTTP", "GRPC", "ADMIN"),
        *("ROUTER", "TOKEN", "URL", "SECRETS_DIR", "REQUIRE", "TEST_KAFKA"),
    )
)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


class Section(BaseModel):
    """Base of the sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Ingress(Section):
    """The public port."""

    public_url: str = ""
    head_timeout_s: float = Field(10.0, gt=0)
    body_timeout_s: float = Field(10.0, gt=0)
    body_floor_bytes_per_s: int = Field(1024, gt=0)


class Router(Section):
    """The gRPC port; `tokens` are the bearer tokens of internal callers."""

    tokens: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    reflection: bool = False


class Executor(Section):
    """How much runs at once, and how long a stop waits for it."""

    concurrent_executions: int = Field(1000, gt=0)
    unfinished_per_partition: int = Field(10_000, gt=0)
    drain_s: float = Field(5.0, ge=0)


class Egress(Section):
    """Where steps may go besides public addresses."""

    allow: Annotated[
        tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split)
    ] = ()


class LogSection(Section):
    """The event log."""

    append_deadline_s: float = Field(5.0, gt=0)
    partitions: int = Field(8, gt=0, le=1024)


class Settings(Section):
    """Everything that has no flag."""

    ingress: Ingress = Ingress()
    router: Router = Router()
    executor: Executor = Executor()
    egress: Egress = Egress()
    log: LogSection = LogSection()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read them. Raises BadConfiguration naming every mistake."""
        sections: dict[str, dict[str, str]] = {}
        mistakes: list[str] = []
        known = names()
        for key, value in environment.items():
            if not key.startswith(PREFIX) or key in FLAGS or key.startswith(SECRET):
                continue
            section, _, name = key.removeprefix(PREFIX).partition("__")
            if key not in known:
                mistakes.append(_unknown(key, [*known, *sorted(FLAGS)]))
            else:
                sections.setdefault(section.lower(), {})[name.lower()] = value
        try:
            settings = cls.model_validate(sections)
        except ValidationError as error:
            mistakes += [_sentence(one["loc"], one["msg"]) for one in error.errors()]
        if mistakes:
            raise BadConfiguration("\n".join(mistakes))
        return settings


def names() -> list[str]:
    """The names of all settings, as environment variables."""
    return [
        f"{PREFIX}{section}__{name}".upper()
        for section, field in Settings.model_fields.items()
        for name in _section_type(field.annotation).model_fields
    ]


def _section_type(annotation: Any) -> type[Section]:
    section: type[Section] = annotation
    return section


def _sentence(place: tuple[Any, ...], text: str) -> str:
    name = (PREFIX + "__".join(str(part) for part in place[:2])).upper()
    return f"{name}: {text}"


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"{name} is no setting: {hint}"
