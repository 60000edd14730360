"""What a trigger says of repeats: what they are told by, and for how long."""

from typing import Annotated, Final

from pydantic import PlainValidator

from hookline.event import Value
from hookline.flow_answers import REPLY_LIMITS
from hookline.flow_fields import duration_s
from hookline.template import Template

DAY_S: Final = 86_400
LONGEST_S: Final = 30 * DAY_S
OFF: Final = ("off", "0", 0, False)


def _window(value: Value) -> float:
    """Seconds; what YAML reads as false is `off`."""
    if any(value is off or value == off for off in OFF):
        return 0.0
    try:
        return duration_s(value)
    except ValueError as error:
        text = 'write how long repeats are known, like "24h" or "10m", or off'
        raise ValueError(text) from error


def _bounded(value: Value) -> int:
    """Whole seconds, which is what events carry."""
    seconds = _window(value)
    if seconds and not 1 <= seconds <= LONGEST_S:
        raise ValueError(
            'repeats are known for "1s" to "30d": write a duration between them, or off '
            "where every request is an event of its own"
        )
    return round(seconds)


def _key(value: Value) -> Template:
    template = Template.compile(value, limits=REPLY_LIMITS)
    if not template.is_expression:
        raise ValueError(
            "a fixed key would make every request a repeat of the first: write an "
            'expression over the request, like "=headers.`x-delivery-id`"'
        )
    return template


KeyTemplate = Annotated[Template, PlainValidator(_key)]
Window = Annotated[int, PlainValidator(_bounded)]
