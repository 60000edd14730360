"""XML: an object, attributes under `_attr`, text beside attributes under `_`.

`:` in names becomes `-`, repeated elements become lists, values are text. A document
type is refused, and with it every entity but XML's own five.
"""

from typing import Any, Final
from xml.parsers import expat

import xmltodict

from hookline.bodies_charset import check_charset, check_declaration
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
    try:
        _check_bounds(body, charset)
        return _plain(
            xmltodict.parse(
                body,
                encoding=charset or None,
                attr_prefix="@",
                cdata_key="_",
                disable_entities=True,
                strip_whitespace=True,
            ),
            0,
        )
    except expat.ExpatError as error:
        raise Malformed(f"The body is not XML: {error}") from error
    except _TooMuch as error:
        raise Malformed(f"The body is XML with too much in it: {error}") from error
    except (ValueError, LookupError, RecursionError, AttributeError) as error:
        raise Malformed(f"The body is not XML: {error}") from error


def _check_bounds(body: bytes, charset: str) -> None:
    """Raise _TooMuch at the tag that is too much: what is built later is within bounds.

    Only a parser finds a document type in every encoding, and none in quoted text.
    """
    if charset:
        check_charset(charset)
    check_declaration(body)
    bounds = _Bounds()
    parser = expat.ParserCreate(charset or None)
    parser.StartDoctypeDeclHandler = bounds.refuse
    parser.StartElementHandler = bounds.start
    parser.EndElementHandler = bounds.end
    parser.Parse(body, True)  # noqa: FBT003 - all there is


class _Bounds:
    """Counts tags as they come."""

    def __init__(self) -> None:
        self._elements = 0
        self._depth = 0

    def refuse(self, *_declared: object) -> None:
        """Take no document type, and with it no entity."""
        raise _TooMuch("a document type or entities are not taken")

    def start(self, _name: str, attributes: dict[str, str]) -> None:
        """Let an element begin, within the bounds."""
        self._depth += 1
        self._elements += 1 + len(attributes)
        if self._depth > MOST_DEPTH:
            raise _TooMuch(f"it nests more than {MOST_DEPTH} deep")
        if self._elements > MOST_ELEMENTS:
            raise _TooMuch(f"it has more than {MOST_ELEMENTS} elements and attributes")

    def end(self, _name: str) -> None:
        """Let it end."""
        self._depth -= 1


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
