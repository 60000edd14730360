"""Reads `Forwarded` headers (RFC 7239): what stands in quotes ends no element.

A proxy that joins its element to a line that its sender has begun joins it to what may be
an open quote. Where a line does not parse, nothing of it is known, not even its end.
"""

import re
from collections.abc import Sequence
from typing import Final

# A parameter, or nothing, up to the next separator. Addresses with a port are taken without
# their quotes, too. Nothing here is tried twice: all repetitions are possessive.
PARAMETER: Final = re.compile(
    r"[ \t]*+"
    r"(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)="
    r"(?:([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]++)|\"((?:[^\"\\]|\\.)*+)\"))?+"
    r"[ \t]*+([,;]|\Z)",
    re.DOTALL,
)
ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def senders_in(line: str) -> Sequence[str] | None:
    """The `for` of each element, empty where it has none.

    None where the line does not parse, or an element names two.
    """
    senders = []
    sender: str | None = None
    at, end = 0, ";"
    while end:
        found = PARAMETER.match(line, at)
        if found is None:
            return None
        name, bare, quoted, end = found.groups()
        at = found.end()
        if name is not None and name.lower() == "for":
            if sender is not None:
                return None
            sender = bare if bare is not None else ESCAPED.sub(r"\1", quoted)
        if end != ";":
            senders.append(sender or "")
            sender = None
    return senders
