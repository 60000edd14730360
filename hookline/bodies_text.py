"""Bodies that are text: JSON, plain text, and what charsets make of bytes."""

import codecs
from typing import Final

import msgspec

from hookline.bodies_charset import check_charset
from hookline.errors import Malformed
from hookline.event import Value

INTEGER_DIGITS: Final = 4_300
_decode_json = msgspec.json.Decoder().decode


def parse_json(body: bytes, charset: str) -> Value:
    """The value of a JSON body. Raises Malformed."""
    if charset not in ("utf-8", "utf8", "us-ascii"):
        body = decode(body, charset).encode()
    elif body.startswith(codecs.BOM_UTF8):
        body = body[3:]
    try:
        return _decode_json(body)
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise Malformed(
            f"The body is not JSON: byte {error.start} is not UTF-8"
        ) from error
    except RecursionError as error:
        raise Malformed("The body is not JSON of a sensible depth") from error
    except ValueError as error:
        raise Malformed(
            f"The body has an integer of more than {INTEGER_DIGITS} digits"
        ) from error


def parse_text(body: bytes, charset: str) -> Value:
    """The JSON value of a text where it is JSON, else the text. Raises Malformed."""
    text = decode(body, charset)
    try:
        return _decode_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text


def decode(body: bytes, charset: str) -> str:
    """A text in a charset, UTF-8 if none is named. Raises Malformed."""
    if charset:
        check_charset(charset)
    try:
        text = body.decode(charset or "utf-8")
    except LookupError as error:
        raise Malformed(f"There is no charset {charset!r}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise Malformed(f"The body is not {charset or 'utf-8'}: {error}") from error
    if not isinstance(text, str):
        raise Malformed(f"{charset!r} is no charset for text")
    return text
