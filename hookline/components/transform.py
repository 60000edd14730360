"""transform: makes a new body.

with:
    body    an expression, or an object with expressions in it: the new body

Headers and attachments stay. Pure: running it twice is harmless. An expression that
cannot be evaluated fails the execution; it is not retried.
"""

from collections.abc import Sequence
from typing import ClassVar

from hookline import components
from hookline.components import Effect, Resources
from hookline.event import Message
from hookline.template import Template


class Transform:
    """Makes a new body."""

    class Parameters(components.Parameters):
        """The parameters of transform."""

        body: Template

    effect: ClassVar = Effect.PURE

    def __init__(self, parameters: Parameters, _resources: Resources) -> None:
        self._body = parameters.body

    async def run(self, message: Message) -> Sequence[Message]:
        """Pass the message on with the new body."""
        return (message.derive(body=self._body.value(message)),)
