"""XML: an object, attributes under `_attr`, text beside attributes under `_`.

`:` in names becomes `-`, repeated elements become lists, values are text. A document
type is refused, and with it every entity but XML's own five.
"""

from typing import Any, Final
from xml.parsers.expat import ExpatError, ParserCreate

import xmltodict

from hookline.bodies_charset import check_charset, check_declaration
from hookline.errors import Malformed
from hookline.event import Value

MOST_DEPTH: Final = 100
MOST_NODES: Final = 200_000
DOCTYPE: Final = "XML with a document type or entities is not taken"


class _TooMuch(Exception):
    pass


def parse_xml(body: bytes, charset: str) -> Value:
    """The object that a document stands for. Raises Malformed.

    `charset` is that of the content type; where it is empty the document's own
    declaration counts.
    """
    try:
        _Bounds().check(body, charset)
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
    except ExpatError as error:
        raise Malformed(f"The body is not XML: {error}") from error
    except _TooMuch as error:
        raise Malformed(f"The body is not XML that is taken: {error}") from error
    except (ValueError, LookupError, RecursionError, AttributeError) as error:
        raise Malformed(f"The body is not XML: {error}") from error


class _Bounds:
    """Counts elements and attributes, before anything is built of them."""

    def __init__(self) -> None:
        self._depth = 0
        self._nodes = 0

    def check(self, body: bytes, charset: str) -> None:
        """Read a document to its end. Raises _TooMuch, and ExpatError where it is none."""
        if charset:
            check_charset(charset)
        check_declaration(body)
        parser = ParserCreate(charset or None)
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(body, True)  # noqa: FBT003 - it takes no keyword

    def _refuse(self, *_declared: object) -> None:
        raise _TooMuch(DOCTYPE)

    def _start(self, _name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._nodes += 1 + len(attributes)
        if self._depth > MOST_DEPTH:
            raise _TooMuch(f"It nests more than {MOST_DEPTH} deep")
        if self._nodes > MOST_NODES:
            raise _TooMuch(f"It has more than {MOST_NODES} elements and attributes")

    def _end(self, _name: str) -> None:
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
