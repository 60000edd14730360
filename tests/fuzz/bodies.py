"""A grammar of bodies: what parses for certain, and what may or may not."""

import gzip
import json
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import quote_plus
from xml.sax.saxutils import escape, quoteattr

LETTERS: Final = string.ascii_letters
# Text that parsers have stumbled over; XML takes all of it, too.
WORDS: Final = (
    *("", "a", "ü", "𝄞", "\u2028", "\ufeff", "<![CDATA[", "]]>", "&amp;", "%00", "a b"),
    *("../../x", "__proto__", "null", "-0", "1e5", "{{x}}", "=body", "${secret:KEY}"),
    *("POST /hook/open HTTP/1.1", "GET / HTTP/1.0\r\n\r\n", "0\r\n\r\n", "--b--"),
)


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent as a body; `parses` where nothing but a 200 would be right."""

    content_type: str
    content: bytes
    parses: bool = False
    encoding: str = ""


def text(draw: Random) -> str:
    """Of any length; seldom long."""
    return "".join(draw.choice(WORDS) for _ in range(draw.choice((0, 1, 2, 5, 40))))


def name(draw: Random) -> str:
    """What every format takes as a name."""
    return "".join(draw.choices(LETTERS, k=draw.randint(1, 12)))


def bytes_of(draw: Random) -> bytes:
    """Anything, seldom a lot of it."""
    return draw.randbytes(draw.choice((0, 1, 2, 17, 300, 5_000, 40_000)))


def value(draw: Random, depth: int = 0) -> Any:
    """A value that JSON can hold."""
    if depth > draw.choice((0, 1, 2, 4)):
        return draw.choice((None, True, 0, -1, 2**64, 10**400, 1.5, 1e300, text(draw)))
    if draw.random() < 0.5:
        return [value(draw, depth + 1) for _ in range(draw.randint(0, 4))]
    return {name(draw): value(draw, depth + 1) for _ in range(draw.randint(0, 4))}


def json_body(draw: Random) -> Body:
    """JSON, written in one of many ways."""
    content_type = draw.choice(
        ("application/json", "text/json", "application/vnd.x+json; charset=utf-8")
    )
    written = json.dumps(
        value(draw),
        ensure_ascii=draw.random() < 0.5,
        indent=draw.choice((None, 2)),
        separators=draw.choice((None, (",", ":"), (" , ", " : "))),
    )
    return Body(content_type, written.encode(), parses=True)


def xml_body(draw: Random) -> Body:
    """XML, well-formed."""
    return Body("application/xml", _element(draw, 0).encode(), parses=True)


def _element(draw: Random, depth: int) -> str:
    tag = name(draw)
    attributes = {name(draw): quoteattr(text(draw)) for _ in range(draw.randint(0, 2))}
    head = tag + "".join(f" {key}={written}" for key, written in attributes.items())
    if depth > draw.choice((0, 1, 2, 6)):
        return f"<{head}/>"
    inner = [_element(draw, depth + 1) for _ in range(draw.randint(0, 3))]
    return f"<{head}>{escape(text(draw))}{''.join(inner)}</{tag}>"


def form_body(draw: Random) -> Body:
    """A form whose names do not contradict each other."""
    pairs = [(name(draw), text(draw)) for _ in range(draw.randint(0, 6))]
    written = "&".join(f"{key}={quote_plus(one)}" for key, one in pairs)
    return Body("application/x-www-form-urlencoded", written.encode(), parses=True)


def text_body(draw: Random) -> Body:
    return Body("text/plain; charset=utf-8", text(draw).encode(), parses=True)


def file_body(draw: Random) -> Body:
    """A type that nobody looks into."""
    content_type = draw.choice(("application/octet-stream", "image/png", "x/y", "z"))
    return Body(content_type, bytes_of(draw), parses=True)


def multipart_body(draw: Random) -> Body:
    """Fields and files, as browsers send them."""
    boundary = name(draw) + str(draw.getrandbits(64))
    parts = [_part(draw) for _ in range(draw.randint(1, 5))]
    written = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), one) for one in parts)
    content = written + f"--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    return Body(kind, content, parses=True)


def _part(draw: Random) -> bytes:
    head = f'Content-Disposition: form-data; name="{name(draw)}"'
    if draw.random() < 0.5:
        return f"{head}\r\n\r\n{text(draw)}".encode()
    file_name = draw.choice(("a.png", "../../x", "ü.txt", "a b", name(draw)))
    head += f'; filename="{file_name}"\r\nContent-Type: image/png'
    return f"{head}\r\n\r\n".encode() + bytes_of(draw)


VALID: Final[tuple[Callable[[Random], Body], ...]] = (
    *(json_body, json_body, xml_body, form_body),
    *(text_body, file_body, multipart_body),
)


def valid_body(draw: Random) -> Body:
    return draw.choice(VALID)(draw)


def encoded(draw: Random, body: Body) -> Body:
    """The same, compressed once or twice, rightly or wrongly named."""
    kind = draw.choice(("gzip", "deflate", "br", "zstd", "gzip, gzip", "identity", "x"))
    content = body.content
    if kind.startswith("gzip"):
        content = gzip.compress(content, mtime=0)
    elif kind == "deflate":
        content = zlib.compress(content)
    return Body(body.content_type, content, encoding=kind)


def packed(draw: Random, body: Body) -> Body:
    """The same, compressed as it says."""
    kind, pack = draw.choice((("gzip", gzip.compress), ("deflate", zlib.compress)))
    return Body(body.content_type, pack(body.content), encoding=kind)


def large_body(draw: Random) -> Body:
    """Too large for the log, opaque."""
    size = draw.choice((262_144, 262_145, 300_000, 700_000))
    return Body("application/octet-stream", draw.randbytes(size))


HOSTILE_TYPES: Final = (
    *("application/json", "application/json; charset=utf-16", "text/plain; charset=x"),
    *("application/xml", "text/xml; charset=utf-7", "multipart/form-data", "", ";;;"),
    *("multipart/form-data; boundary=", "multipart/form-data; boundary=b", "a/b; c"),
    *("multipart/mixed; boundary=b", 'multipart/form-data; boundary="b', "ü/ü", "*/*"),
    *("application/cloudevents+json", "application/cloudevents-batch+json"),
    *("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; q=1"),
)
HOSTILE: Final = (
    *(b"[" * 5_000, b'{"a":' * 5_000, b"1" * 5_000, b"1e99999", b'"\\ud800"', b"\xff"),
    *(b"<a>" * 5_000, b"<!DOCTYPE a><a/>", b"<a>&b;</a>", b"<?xml version='9'?><a/>"),
    *(b"a[b]=1&a=2", b"a" + b"[b]" * 99 + b"=1", b"%zz=%", b"&" * 20_000, b"=", b"a;b"),
    *(b"--b", b"--b\r\n", b"--b--", b"--b\r\n\r\n", b"--b\r\nx\r\n\r\n\r\n--b--\r\n"),
    b'--b\r\nContent-Disposition: form-data; name="../x"; filename="\x00"\r\n\r\nx',
    b"--b\r\nContent-Disposition: form-data\r\nContent-Length: +5\r\n\r\nx\r\n--b--\r\n",
    b"--b\r\n" + b"X: y\r\n" * 2_000 + b"\r\n\r\n--b--\r\n",
    b'[{"specversion":"1.0","id":"1","source":"s","type":"t","data":{}}]',
    b'{"specversion":"1.0","id":1,"data_base64":"!"}',
)


def hostile_body(draw: Random) -> Body:
    """One made to hurt, or a good one under another name."""
    content = draw.choice((*HOSTILE, valid_body(draw).content, bytes_of(draw)))
    return Body(draw.choice(HOSTILE_TYPES), content)
