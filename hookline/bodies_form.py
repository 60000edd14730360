"""Lists of properties: forms and query strings. `a[b][c]=1` nests, repeats are lists."""

import re
from typing import Final

from hookline.errors import Malformed
from hookline.event import Value

MOST_FIELDS: Final = 10_000
MOST_DEPTH: Final = 32
CHUNK_BYTES: Final = 64 * 1024
ESCAPE: Final = re.compile(rb"%(?=[0-9A-Fa-f]{2})")
HEX: Final = "0123456789ABCDEFabcdef"
OCTETS: Final = {f"{a}{b}".encode(): bytes.fromhex(a + b) for a in HEX for b in HEX}
BRACKETED: Final = re.compile(r"\[([^\[\]]*)\]")


def parse_form(body: bytes) -> dict[str, Value]:
    """The object that a form stands for, in UTF-8. Raises Malformed."""
    if body.count(b"&") >= MOST_FIELDS:
        raise Malformed(f"A form has at most {MOST_FIELDS} fields")
    result: dict[str, Value] = {}
    for pair in body.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            _put(result, _keys(_unquote(name)), _unquote(value))
    return result


def _unquote(part: bytes) -> str:
    try:
        return _unescaped(part.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise Malformed("The form is not percent-encoded UTF-8") from error


def _unescaped(part: bytes) -> bytes:
    """Percent-decoded a chunk at a time: of a whole one many objects would be made."""
    if len(part) <= CHUNK_BYTES:
        return _unescaped_chunk(part)
    out = bytearray()
    start = 0
    while start < len(part):
        end = start + CHUNK_BYTES
        escape = part.rfind(b"%", end - 2, end)
        end = end if escape == -1 else escape
        out += _unescaped_chunk(part[start:end])
        start = end
    return bytes(out)


def _unescaped_chunk(part: bytes) -> bytes:
    """As `urllib.parse.unquote_to_bytes`, which raises for each sign that is no escape."""
    before, *escaped = ESCAPE.split(part)
    return before + b"".join([OCTETS[one[:2]] + one[2:] for one in escaped])


def _keys(name: str) -> list[str]:
    """["a", "b", ""] of "a[b][]"; a name that is not bracketed well is one key."""
    first, bracket, _ = name.partition("[")
    if not bracket or not first:
        return [name]
    rest = name[len(first) :]
    if rest.count("][") >= MOST_DEPTH:
        raise Malformed(f"A form nests at most {MOST_DEPTH} deep")
    inner = BRACKETED.findall(rest)
    if "".join(f"[{key}]" for key in inner) != rest:
        return [name]
    return [first, *inner]


def _put(target: dict[str, Value], keys: list[str], value: str) -> None:
    if keys[-1] == "" and len(keys) > 1:  # a[]=1 is a list from the first on
        keys = keys[:-1]
        as_list = True
    else:
        as_list = False
    for key in keys[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            if inner is not None:
                raise Malformed(f"The form has {key!r} as a value and as an object")
            inner = target[key] = {}
        target = inner
    _add(target, keys[-1], value, as_list=as_list)


def _add(target: dict[str, Value], key: str, value: str, *, as_list: bool) -> None:
    if key not in target:
        target[key] = [value] if as_list else value
        return
    there = target[key]
    if isinstance(there, dict):
        raise Malformed(f"The form has {key!r} as a value and as an object")
    if isinstance(there, list):
        there.append(value)
    else:
        target[key] = [there, value]
