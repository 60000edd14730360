"""A grammar of requests on top of that of bodies: heads, framing, credentials, paths.

What is sent rightly has exactly one right answer, which is known here beforehand.
"""

import base64
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.fuzz.bodies import (
    Body,
    encoded,
    hostile_body,
    large_body,
    name,
    packed,
    valid_body,
)

Pair = tuple[str, str]
KEY: Final = "fuzz-key"
OPEN: Final = "open"
SIGNED: Final = "signed"
KEYED: Final = "keyed"
BASIC: Final = "basic"
STEPS: Final = "steps: [{id: keep, use: transform, with: {body: 1}}]"
ANY: Final = "[GET, POST, PUT, PATCH, DELETE]"
FLOWS: Final = {
    flow_id: f"id: {flow_id}\ntrigger: {{webhook: {{{webhook}}}}}\n{STEPS}\n"
    for flow_id, webhook in {
        OPEN: f"methods: {ANY}, auth: {{type: none}}",
        "small": "max_body: 1kB, auth: {type: none}",
        "raw": "raw: true, auth: {type: none}",
        SIGNED: 'auth: {type: hmac, secret: "${secret:KEY}"}',
        KEYED: 'auth: {type: api_key, value: "${secret:KEY}"}',
        BASIC: 'auth: {type: basic, username: ada, password: "${secret:KEY}"}',
    }.items()
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as bytes; `status` is what must come, `body` what must be kept."""

    raw: bytes
    status: int
    body: bytes = b""
    body_of_answer: bool = True


def valid_request(draw: Random) -> Sent:
    """To a flow that takes everything."""
    method = draw.choice(("POST", "PUT", "PATCH", "POST"))
    body = valid_body(draw)
    if draw.random() < 0.1:
        body = packed(draw, body)
    elif draw.random() < 0.02:
        body = large_body(draw)
    path = f"/hook/{OPEN}" + draw.choice(
        ("", "", "/", "/a/b%2f..", "?a=1&a=2", "/x?é=%20")
    )
    path = path.replace("é", "%C3%A9")
    return Sent(whole(draw, method, path, [], body), 200, body.content)


def signed_request(draw: Random) -> Sent:
    """With a credential that is right."""
    body = valid_body(draw)
    digest = hmac.digest(KEY.encode(), body.content, "sha256").hex()
    pair = base64.b64encode(f"ada:{KEY}".encode()).decode()
    flow_id, credential = draw.choice(
        (
            (SIGNED, ("X-Eio-Signature", draw.choice((digest, digest.upper())))),
            (KEYED, ("x-api-key", KEY)),
            (BASIC, ("authorization", f"Basic {pair}")),
        )
    )
    raw = whole(draw, "POST", f"/hook/{flow_id}", [credential], body)
    return Sent(raw, 200, body.content)


def question(draw: Random) -> Sent:
    """Without a body: what HEAD, OPTIONS, GET and DELETE are for."""
    method, status = draw.choice(
        (("HEAD", 200), ("OPTIONS", 204), ("GET", 200), ("DELETE", 200))
    )
    path = f"/hook/{OPEN}" + draw.choice(("", "?a=1", "?a%5Bb%5D=1&c"))
    return Sent(_head(draw, method, path, []), status, b"", method != "HEAD")


def refused_request(draw: Random) -> Sent:
    """What is refused for one reason that is known."""
    body = valid_body(draw)
    sized = Body("application/json", b'"%b"' % (b"x" * draw.randint(999, 60_000)))
    wrong = draw.choice(("0" * 64, "", "é", "0" * 63, "0" * 5_000))
    method, path, pairs, body, status = draw.choice(
        (
            ("POST", f"/hook/{name(draw)}-nobody", [], body, 404),
            ("POST", f"/hook/{OPEN}%2f", [], body, 404),
            ("POST", f"/{OPEN}", [], body, 404),
            ("PUT", f"/hook/{SIGNED}", [], body, 405),
            ("PROPFIND", f"/hook/{OPEN}", [], body, 405),
            ("POST", f"/hook/{SIGNED}", [("x-eio-signature", wrong)], body, 401),
            ("POST", f"/hook/{KEYED}", [("x-api-key", f"{KEY}x")], body, 401),
            ("POST", f"/hook/{BASIC}", [("authorization", wrong)], body, 401),
            ("POST", "/hook/small", [], sized, 413),
            ("POST", f"/hook/{OPEN}", [], Body("application/json", b"{"), 400),
        )
    )
    return Sent(whole(draw, method, path, pairs, body), status)


def whole(
    draw: Random, method: str, path: str, pairs: Sequence[Pair], body: Body
) -> bytes:
    """Head and body, well framed in one of two ways."""
    described = [*pairs, (_cased(draw, "content-type"), body.content_type)]
    if body.encoding:
        described.append(("content-encoding", body.encoding))
    framing, content = draw.choice((_sized, _sized, _chunked))(draw, body.content)
    return _head(draw, method, path, [*described, framing]) + content


def _sized(draw: Random, content: bytes) -> tuple[Pair, bytes]:
    return (_cased(draw, "content-length"), str(len(content))), content


def _chunked(draw: Random, content: bytes) -> tuple[Pair, bytes]:
    written, at = b"", 0
    while at < len(content):
        piece = content[at : at + draw.choice((1, 2, 100, 5_000, 65_536))]
        if len(content) - at > 300 and len(piece) < 100:
            piece = content[at : at + 300]
        size = draw.choice(("%x", "%X", "0%x")) % len(piece)
        extension = draw.choice(("", "", ";a", ";a=b", ';a="b"'))
        written += f"{size}{extension}\r\n".encode() + piece + b"\r\n"
        at += len(piece)
    return (_cased(draw, "transfer-encoding"), "chunked"), written + b"0\r\n\r\n"


def _cased(draw: Random, header: str) -> str:
    return draw.choice((header, header.upper(), header.title()))


EXTRA: Final = (
    *(("User-Agent", "fuzz"), ("Accept", "*/*"), ("X-Empty", ""), ("X-A", "1, 2")),
    *(("x-a", "1"), ("X-Request-Id", "0" * 32), ("X-Request-Id", "é"), ("Cookie", "a")),
    *(("X-Forwarded-For", "1.2.3.4"), ("X-Long", "x" * 4_000), ("Traceparent", "00")),
)


def _head(draw: Random, method: str, path: str, pairs: Sequence[Pair]) -> bytes:
    lines = [("Host", "hooks.example"), *pairs]
    lines += draw.sample(EXTRA, draw.choice((0, 0, 1, 3, 8)))
    draw.shuffle(lines)
    written = "".join(
        f"{key}:{draw.choice((' ', '', '  '))}{one}\r\n" for key, one in lines
    )
    return f"{method} {path} HTTP/1.1\r\n{written}\r\n".encode("latin-1", "replace")


# What stands in a head's lines where it should not, or should but once.
TARGETS: Final = (
    *(
        "/hook/open",
        "/hook/small",
        "/hook/raw",
        "/hook/signed",
        "*",
        "",
        "/",
        "//",
        "/?",
    ),
    *(
        "http://hooks.example/hook/open",
        "hooks.example:80",
        "/hook/open#x",
        "/hook/%00",
    ),
    *("/hook/open?" + "a=1&" * 500, "/hook/open/" + "x/" * 2_000, "/hook/../hook/open"),
    *(
        "/hook/open?a[b]=1&a=2",
        "/hook/open?%ff",
        "/hook/open\xff",
        "/hook/open?raw=true",
    ),
)
METHODS: Final = (
    *(
        "POST",
        "GET",
        "PUT",
        "DELETE",
        "HEAD",
        "OPTIONS",
        "CONNECT",
        "TRACE",
        "post",
        "X",
    ),
    *("PRI", "POST POST", "", "M-SEARCH", "P\x00ST", "A" * 300),
)
VERSIONS: Final = (
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "HTTP/9",
    "http/1.1",
    "",
)
LINES: Final = (
    *(
        "Content-Length: 0",
        "Content-Length: 5",
        "Content-Length: +5",
        "Content-Length: -1",
    ),
    *(
        "Content-Length: 5, 5",
        "Content-Length: 99999999999999999999",
        "Content-Length:",
    ),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:",
    ),
    *("Transfer-Encoding: chunked, identity", "Transfer-Encoding: gzip, chunked"),
    *("Transfer-Encoding:\tchunked", "Transfer-Encoding : chunked", "TE: trailers"),
    *("Host: a", "Host: b", "Host:", "X: y\r\n folded", " X: y", ": y", "X", "X: \x00"),
    *("X: \x7f", "X: \xff", "Connection: close", "Connection: upgrade", "Upgrade: h2c"),
    *(
        "Expect: 100-continue",
        "Expect: x",
        "Content-Encoding: gzip",
        "Content-Encoding: x",
    ),
    *(
        "Content-Type: application/json",
        "Content-Type: a\r\nContent-Type: b",
        "Trailer: X",
    ),
    *(
        "Upgrade: websocket",
        "Sec-WebSocket-Key: x",
        "HTTP2-Settings: x",
        "Range: bytes=0-",
    ),
    *(
        "ce-specversion: 1.0",
        "ce-id: \xe9",
        "ce-type: t",
        "Prefer: wait=9",
        "Origin: x",
    ),
    *("X-Forwarded-For: 1.2.3.4, ::1", "Forwarded: for=_x", "X: " + "y" * 20_000),
    "\r\n".join(f"X-{number}: y" for number in range(150)),
)
TAILS: Final = (
    *(
        b"",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"hello",
        b"-1",
    ),
    *(
        b"ffffffffffffffff1\r\n",
        b"5;" + b"a" * 9_000,
        b"0\r\nX: y\r\n\r\n",
        b"5\nhello\n0\n\n",
    ),
    b"0\r\n" + b"X: y\r\n" * 500 + b"\r\n",
)


def hostile_request(draw: Random) -> bytes:
    """Each of its parts may be wrong; none needs to be."""
    body = draw.choice((hostile_body, valid_body))(draw)
    if draw.random() < 0.2:
        body = encoded(draw, body)
    if draw.random() < 0.4:
        return whole(draw, draw.choice(METHODS), draw.choice(TARGETS), [], body)
    line = f"{draw.choice(METHODS)} {draw.choice(TARGETS)} {draw.choice(VERSIONS)}"
    lines = [line, *draw.choices(LINES, k=draw.choice((0, 1, 2, 3, 6)))]
    end = draw.choice(("\r\n", "\r\n", "\r\n", "\n", "\r"))
    head = (end.join(lines) + end * 2).encode("latin-1")
    return head + draw.choice((*TAILS, body.content))


KNOWN: Final[tuple[Callable[[Random], Sent], ...]] = (
    *(valid_request, valid_request, signed_request, question),
)
