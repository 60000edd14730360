"""XML: an object, attributes under `_attr`, text beside attributes under `_`.

`:` in names becomes `-`, repeated elements become lists, values are text. A document
type is refused, and with it every entity but XML's own five.
"""

from typing import Any, Final
from xml.parsers.expat import ExpatError

import xmltodict

from hookline.errors import Malformed
from hookline.event import Value

MOST_DEPTH: Final = 100
MOST_ELEMENTS: Final = 200_000


class _TooMuch(Exception):
    pass


def parse_xml(body: bytes, charset: str) -> Value:
    """The object that a document stands for. Raises Malformed.

    `charset` is that of the content type; where it is empty the document's own
    declaration counts.
    """
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise Malformed("XML with a document type or entities is not taken")
    try:
        return _plain(
            xmltodict.parse(
                body,
                encoding=charset or None,
                attr_prefix="@",
                cdata_key="_",
                disable_entities=True,
                strip_whitespace=True,
                postprocessor=_Bounds().check,
            ),
            0,
        )
    except ExpatError as error:
        raise Malformed(f"The body is not XML: {error}") from error
    except _TooMuch as error:
        raise Malformed(f"The body is XML with too much in it: {error}") from error
    except (ValueError, LookupError, RecursionError, AttributeError) as error:
        raise Malformed(f"The body is not XML: {error}") from error


class _Bounds:
    """Counts elements while they are parsed."""

    def __init__(self) -> None:
        self._elements = 0

    def check(self, path: list[Any], key: str, value: Any) -> tuple[str, Any]:
        """Let an element pass, within the bounds."""
        self._elements += 1
        if len(path) > MOST_DEPTH:
            raise _TooMuch(f"it nests more than {MOST_DEPTH} deep")
        if self._elements > MOST_ELEMENTS:
            raise _TooMuch(f"it has more than {MOST_ELEMENTS} elements")
        return key, value


def _plain(value: Any, depth: int) -> Value:
    match value:
        case dict():
            return _object(value, depth)
        case list():
            return [_plain(item, depth + 1) for item in value]
        case None:
            return ""
        case _:
            return value


def _object(value: dict[str, Any], depth: int) -> Value:
    attributes = {
        name[1:].replace(":", "-"): text
        for name, text in value.items()
        if name.startswith("@")
    }
    inner = {
        name.replace(":", "-"): _plain(item, depth + 1)
        for name, item in value.items()
        if not name.startswith("@")
    }
    return {"_attr": attributes, **inner} if attributes else inner
