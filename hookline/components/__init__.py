"""Stop 8: what a step can do. One file a component, its docstring its manual page.

A component is a class with `Parameters` (a pydantic model: what `with` may hold), an
`effect`, and one method `run`. It is built when its flow is loaded, so mistakes surface
before any event. Parameters that may be expressions or name secrets are `Template`s.
Others add theirs through the entry-point group `hookline.components`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from hookline.event import Message
from hookline.http_client import HttpClient

__all__ = ["Component", "Effect", "Parameters", "Resources", "component_types"]


class Effect(Enum):
    """What running a step twice means."""

    PURE = "nothing outside changes"
    REPEATABLE = "running it twice is harmless"
    ONCE = "started and its end unknown, it is not run again by itself"


class Parameters(BaseModel):
    """Base of every component's parameters: unknown names are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class Resources:
    """What components may use of the outside."""

    http: HttpClient


class Component(Protocol):
    """What a step does."""

    Parameters: ClassVar[type[Parameters]]
    effect: ClassVar[Effect]

    def __init__(self, parameters: Any, resources: Resources) -> None: ...

    async def run(self, message: Message) -> Sequence[Message]:
        """Do the work of one step for one message.

        No message out ends the event here; many continue one by one, in order.
        Raises RetryableError or TerminalError.
        """
        ...


@cache
def component_types() -> Mapping[str, type[Component]]:
    """Every component there is, by the name a flow file uses."""
    return {
        entry.name: entry.load() for entry in entry_points(group="hookline.components")
    }
