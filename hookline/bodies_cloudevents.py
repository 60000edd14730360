"""CloudEvents 1.0 over HTTP: an event in JSON, and batches of them.

The third mode, attributes in `ce-` headers, needs nothing: its body is the data. What
comes in the other two is made to look like it: the data is the body, read by the event's
own `datacontenttype`, and the attributes are headers.
https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents
"""

import base64
import binascii
import re
from typing import Final, NamedTuple

import msgspec

from hookline.bodies_text import parse_json
from hookline.errors import Malformed
from hookline.event import Value

EVENT_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
MOST_EVENTS: Final = 1000
REQUIRED: Final = ("specversion", "id", "source", "type")
ATTRIBUTE: Final = re.compile(r"[a-z0-9]+", re.ASCII)
DATA: Final = ("data", "data_base64")
JSON_TYPE: Final = re.compile(r"[\w.+-]+/(?:[\w.+-]+\+)?json", re.ASCII)
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode


class CloudEvent(NamedTuple):
    """An event: its attributes as headers, and its data, a value or bytes of a type."""

    headers: dict[str, str]
    content_type: str
    value: Value
    content: bytes | None


def read_event(body: bytes, charset: str) -> CloudEvent:
    """The event that a JSON body holds. Raises Malformed."""
    event = parse_json(body, charset)
    if not isinstance(event, dict):
        raise Malformed("The body is not a CloudEvent: it is no object")
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise Malformed(f"The CloudEvent has no {name!r}: send it as text")
    headers = {
        f"ce-{name}": _attribute(name, value)
        for name, value in event.items()
        if name not in DATA and value is not None
    }
    content_type = headers.get("ce-datacontenttype", "application/json")
    return CloudEvent(headers, content_type, *_payload(event, content_type))


def split_batch(body: bytes, charset: str) -> tuple[bytes, ...]:
    """The elements of a batch, each as it was sent. Raises Malformed."""
    parse_json(body, charset)  # in the words of any other body that is not JSON
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise Malformed("Send a batch of CloudEvents in UTF-8")
    try:
        elements = _decode_batch(body.removeprefix(b"\xef\xbb\xbf"))
    except msgspec.DecodeError as error:
        raise Malformed("The body is not a batch of CloudEvents: no list") from error
    if len(elements) > MOST_EVENTS:
        raise Malformed(f"A batch has at most {MOST_EVENTS} events")
    return tuple(map(bytes, elements))


def _attribute(name: str, value: Value) -> str:
    if not ATTRIBUTE.fullmatch(name):
        raise Malformed(
            f"The CloudEvent has an attribute {name[:64]!r}: names are lower-case "
            "letters and digits"
        )
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return value
    raise Malformed(
        f"The CloudEvent's {name!r} is neither text, a whole number nor true or false"
    )


def _payload(event: dict[str, Value], content_type: str) -> tuple[Value, bytes | None]:
    data = event.get("data")
    encoded = event.get("data_base64")
    if encoded is not None:
        if data is not None:
            raise Malformed("The CloudEvent has both 'data' and 'data_base64'")
        return None, _unencoded(encoded)
    if isinstance(data, str) and not _is_json(content_type):
        return None, data.encode()
    return ({} if data is None else data), None


def _unencoded(encoded: Value) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Malformed("The CloudEvent's 'data_base64' is not base64") from error


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return JSON_TYPE.fullmatch(kind) is not None
