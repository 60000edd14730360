"""Cases: what is sent on one connection, made of a seed and a number, always the same."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.fuzz.requests import KNOWN, Sent, hostile_request, refused_request

# Whatever comes before it, a connection that is still in step ends with this one.
CLOSING: Final = (
    b"GET /hook/nobody HTTP/1.1\r\nHost: hooks.example\r\nConnection: close\r\n\r\n"
)
TOKENS: Final = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b":",
        b" ",
        b"\t",
        b"0\r\n\r\n",
        b"\xff",
        b"%",
        b";",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"HTTP/1.1",
        b"Host: x",
    ),
)


@dataclass(frozen=True, slots=True)
class Case:
    """What goes out, in pieces; `sent` is empty where the right answers are not known."""

    number: int
    pieces: tuple[bytes, ...]
    sent: tuple[Sent, ...]
    requests: int


def case_of(seed: int, number: int) -> Case:
    """The case of a number."""
    draw = Random(f"{seed}:{number}")
    known = draw.random() < 0.4
    sent = _known(draw) if known else ()
    raw = [one.raw for one in sent] if known else _unknown(draw)
    return Case(number, _in_pieces(draw, b"".join(raw)), sent, len(raw))


def _known(draw: Random) -> tuple[Sent, ...]:
    """Requests in a row, each with its right answer; what is refused ends the row."""
    sent = [draw.choice(KNOWN)(draw) for _ in range(draw.choice((1, 1, 2, 4, 8)))]
    if draw.random() < 0.3:
        sent.append(refused_request(draw))
    return tuple(sent)


def _unknown(draw: Random) -> list[bytes]:
    raw = [_hostile(draw) for _ in range(draw.choice((1, 1, 1, 2, 4)))]
    return [*raw, CLOSING]


def _hostile(draw: Random) -> bytes:
    hostile = draw.random() < 0.5
    raw = hostile_request(draw) if hostile else draw.choice(KNOWN)(draw).raw
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        raw = draw.choice(MUTATIONS)(draw, raw)
    return raw


def _flip(draw: Random, raw: bytes) -> bytes:
    at = _place(draw, raw)
    return raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :]


def _truncate(draw: Random, raw: bytes) -> bytes:
    return raw[: _place(draw, raw)]


def _repeat(draw: Random, raw: bytes) -> bytes:
    start, end = sorted((_place(draw, raw), _place(draw, raw)))
    return raw[:end] + raw[start:]


def _drop(draw: Random, raw: bytes) -> bytes:
    start, end = sorted((_place(draw, raw), _place(draw, raw)))
    return raw[:start] + raw[end:]


def _insert(draw: Random, raw: bytes) -> bytes:
    at = _place(draw, raw)
    return raw[:at] + draw.choice(TOKENS) + raw[at:]


def _place(draw: Random, raw: bytes) -> int:
    """Most often in the head, where more depends on each byte."""
    return draw.randrange(min(len(raw), draw.choice((40, 300, len(raw)))) + 1 or 1)


MUTATIONS: Final[tuple[Callable[[Random, bytes], bytes], ...]] = (
    *(_flip, _flip, _truncate, _repeat, _drop, _insert, _insert),
)


def _in_pieces(draw: Random, raw: bytes) -> tuple[bytes, ...]:
    """Cut at a few places: a parser must not care where packets end."""
    cuts = draw.choice((0, 0, 1, 3, 10))
    places = sorted(draw.randrange(len(raw) + 1) for _ in range(cuts))
    bounds = zip([0, *places], [*places, len(raw)], strict=True)
    return tuple(raw[start:end] for start, end in bounds)
