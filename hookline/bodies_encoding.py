"""Takes content codings off a body: gzip, deflate, br and zstd, in pieces and bounded.

However much a few bytes unpack to, little more than a piece of it is held at a time, and
no coding gives more than the limit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from hookline.bodies_unpackers import ERRORS, Brotli, Deflate, Unpacker, Zlib, Zstd
from hookline.errors import Malformed, TooLarge, UnsupportedCoding

MOST_CODINGS: Final = 2
# Of gzip and zstd there may be many in a row; each costs something, also an empty one.
MOST_MEMBERS: Final = 10_000
GZIP_WINDOW: Final = 31


@dataclass(frozen=True, slots=True)
class _Coding:
    name: str
    member: Callable[[], Unpacker]
    repeats: bool = False


def _gzip() -> Unpacker:
    return Zlib(GZIP_WINDOW)


_GZIP: Final = _Coding("gzip", _gzip, repeats=True)
CODINGS: Final = {
    "gzip": _GZIP,
    "x-gzip": _GZIP,
    "deflate": _Coding("deflate", Deflate),
    "br": _Coding("br", Brotli),
    "zstd": _Coding("zstd", Zstd, repeats=True),
}


class Decoder:
    """Takes the codings of one body off it, the last one applied first."""

    def __init__(self, content_encoding: str, limit: int) -> None:
        """Raises UnsupportedCoding where one is not known, or there are too many."""
        names = codings_of(content_encoding)
        if len(names) > MOST_CODINGS:
            raise UnsupportedCoding(f"Send at most {MOST_CODINGS} content codings.")
        if unknown := [name for name in names if name not in CODINGS]:
            raise UnsupportedCoding(
                f"The content coding {unknown[0][:32]!r} is not known: send gzip, "
                "deflate, br, zstd, or none."
            )
        self._stages = [_Stage(CODINGS[name], limit) for name in reversed(names)]

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What a piece decodes to, in pieces. Raises Malformed or TooLarge."""
        return self._through(0, piece)

    def end(self) -> None:
        """The body is over. Raises Malformed where it broke off."""
        for stage in self._stages:
            stage.end()

    @property
    def held(self) -> int:
        """How many bytes the codings hold between two pieces: their windows."""
        return sum(stage.held for stage in self._stages)

    def _through(self, number: int, piece: bytes) -> Iterator[bytes]:
        if number == len(self._stages):
            yield piece
            return
        for out in self._stages[number].feed(piece):
            yield from self._through(number + 1, out)


class _Stage:
    """One coding of a body, with all its members."""

    def __init__(self, coding: _Coding, limit: int) -> None:
        self._coding = coding
        self._limit = limit
        self._size = 0
        self._members = 0
        self._member: Unpacker | None = None

    @property
    def held(self) -> int:
        return self._member.held if self._member is not None else 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        try:
            while piece:
                member = self._member = self._current()
                for out in member.unpack(piece):
                    self._count(out)
                    yield out
                piece = member.rest if member.eof else b""
        except ERRORS as error:
            raise Malformed(f"The body is not {self._coding.name}: {error}") from error

    def end(self) -> None:
        if self._member is not None and not self._member.eof:
            raise Malformed(f"The body is {self._coding.name} that breaks off")

    def _current(self) -> Unpacker:
        if self._member is not None and not self._member.eof:
            return self._member
        if self._member is not None and not self._coding.repeats:
            raise Malformed(f"Something follows the body's {self._coding.name}")
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise Malformed(f"The body has over {MOST_MEMBERS} members of gzip or zstd")
        return self._coding.member()

    def _count(self, out: bytes) -> None:
        self._size += len(out)
        if self._size > self._limit:
            raise TooLarge(f"The body decodes to more than {self._limit} bytes.")


def codings_of(content_encoding: str) -> list[str]:
    """The codings that a header names, in the order in which they were applied."""
    names = (name.strip().lower() for name in content_encoding.split(","))
    return [name for name in names if name not in ("", "identity")]
