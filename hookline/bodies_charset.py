"""Charsets that text may name: those of a list, which is asked before Python is.

Python keeps every name that it was ever asked for, of any length, and knows charsets
whose decoding takes a time that grows with the square of the text.
"""

import re
from encodings.aliases import aliases
from typing import Final

from hookline.errors import Malformed

# Charsets that Python's table has under no other name.
WITHOUT_ALIAS: Final = frozenset(
    {"cp720", "cp737", "cp874", "cp1006", "koi8_u", "utf_8_sig", "mac_croatian"}
)
KNOWN: Final = frozenset({*aliases, *aliases.values()}) | WITHOUT_ALIAS
MOST_NAME: Final = 40
# As long as a declaration is in UTF-16.
DECLARATION_BYTES: Final = 512
DECLARATION: Final = re.compile(rb"[^<]{0,3}<\?xml\s.*?\?>", re.DOTALL)
ENCODING: Final = re.compile(rb"\sencoding\s*=\s*[\"']([^\"']*)")


def check_charset(charset: str) -> None:
    """Raise Malformed where a text cannot be in this charset."""
    name = re.sub(r"[^a-z0-9]+", "_", charset[: MOST_NAME + 1].lower())
    if len(charset) > MOST_NAME or name not in KNOWN:
        raise Malformed(f"There is no charset {charset[:MOST_NAME]!r}")


def check_declaration(body: bytes) -> None:
    """The same for the charset that an XML document declares itself to be in."""
    # ASCII is readable in UTF-16, too, but for its zeros.
    head = body[:DECLARATION_BYTES].replace(b"\0", b"")
    if b"<?xml" not in head[:8]:
        return
    declaration = DECLARATION.match(head)
    if declaration is None:
        raise Malformed("The XML declaration is not one, or too long")
    declared = ENCODING.search(declaration[0])
    if declared is not None:
        check_charset(declared[1].decode("latin-1"))
