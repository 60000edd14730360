"""filter: ends the event unless a condition is true.

with:
    condition   an expression that gives true or false; nothing counts as false

Pure: running it twice is harmless. An expression that cannot be evaluated, or gives
neither true nor false, fails the execution; it is not retried.
"""

from collections.abc import Sequence
from typing import ClassVar

from hookline import components
from hookline.components import Effect, Resources
from hookline.event import Message
from hookline.template import Template


class Filter:
    """Ends the event unless its condition is true."""

    class Parameters(components.Parameters):
        """The parameters of filter."""

        condition: Template

    effect: ClassVar = Effect.PURE

    def __init__(self, parameters: Parameters, _resources: Resources) -> None:
        self._condition = parameters.condition

    async def run(self, message: Message) -> Sequence[Message]:
        """Pass the message on, or nothing."""
        return (message,) if self._condition.truth(message) else ()
