"""Takes content codings off a body: gzip, deflate, br and zstd, in pieces and bounded.

However much a few bytes unpack to, little more than `PIECE_BYTES` of it is held at a
time, and no coding gives more than the limit.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import brotli
from backports import zstd

from hookline.errors import Malformed, TooLarge, UnsupportedCoding

PIECE_BYTES: Final = 256 * 1024
MOST_CODINGS: Final = 2
# Of gzip and zstd there may be many in a row; each costs something, also an empty one.
MOST_MEMBERS: Final = 10_000
MOST_WINDOW_LOG: Final = 23  # 8 MiB: what RFC 9659 allows on the web
MOST_WINDOW_BYTES: Final = 1 << MOST_WINDOW_LOG
GZIP_WINDOW: Final = 31
ZLIB_BYTES: Final = 64 * 1024
# As much of a frame as tells its window.
ZSTD_HEADER_BYTES: Final = 17
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_BLOCK_BYTES: Final = 256 * 1024
ERRORS: Final = (zlib.error, brotli.error, zstd.ZstdError)


class Unpacker(Protocol):
    """One member of a coding, as zlib, zstd and brotli are made to look here."""

    @property
    def eof(self) -> bool:
        """Whether the member is at its end."""
        ...

    @property
    def rest(self) -> bytes:
        """Of what was given, the bytes behind the member's end."""
        ...

    @property
    def held(self) -> int:
        """How many bytes it holds between two pieces: its window."""
        ...

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """What a piece unpacks to, in pieces of bounded size."""
        ...


class _Zlib:
    held = ZLIB_BYTES

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        while not self._inner.eof:
            out = self._inner.decompress(piece, PIECE_BYTES)
            piece = self._inner.unconsumed_tail
            if out:
                yield out
            if not piece and len(out) < PIECE_BYTES:
                return


class _Deflate:
    """The zlib format, as RFC 9110 says; or bare deflate, as some have always sent."""

    held = ZLIB_BYTES

    def __init__(self) -> None:
        self._first = b""
        self._inner: _Zlib | None = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.rest if self._inner is not None else b""

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        if self._inner is None:
            self._first += piece
            if len(self._first) < 2:  # noqa: PLR2004 - zlib's header
                return
            piece = self._first
            self._inner = _Zlib(zlib.MAX_WBITS * (1 if _is_zlib(piece) else -1))
        yield from self._inner.unpack(piece)


def _is_zlib(start: bytes) -> bool:
    return start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0  # noqa: PLR2004


class _Zstd:
    def __init__(self) -> None:
        options = {int(zstd.DecompressionParameter.window_log_max): MOST_WINDOW_LOG}
        self._inner = zstd.ZstdDecompressor(options=options)
        self._first = b""

    @property
    def held(self) -> int:
        return zstd_window(self._first)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        self._first += piece[: ZSTD_HEADER_BYTES - len(self._first)]
        while not self._inner.eof:
            out = self._inner.decompress(piece, PIECE_BYTES)
            piece = b""
            if out:
                yield out
            if self._inner.needs_input:
                return


class _Brotli:
    rest = b""  # brotli itself fails on bytes behind its end

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self.held = 0

    @property
    def eof(self) -> bool:
        return bool(self._inner.is_finished())

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        if not self.held:
            self.held = brotli_window(piece[0])
            if self.held > MOST_WINDOW_BYTES:
                raise Malformed(
                    f"The body's br asks for a window of {self.held} bytes: send it "
                    f"with one of at most {MOST_WINDOW_BYTES}."
                )
        while True:
            out = self._inner.process(piece, output_buffer_limit=PIECE_BYTES)
            piece = b""
            if out:
                yield out
            # It says that it takes more while it still has something to give.
            if self._inner.is_finished() or not out:
                return


def brotli_window(first: int) -> int:
    """The window that a stream's first byte asks for (RFC 7932, 9.1)."""
    if not first & 0b1:
        return 1 << 16
    if bits := first >> 1 & 0b111:
        return 1 << 17 + bits
    bits = first >> 4 & 0b111
    # 1 stands for the large windows of another format, which are refused as broken.
    return 1 << (8 + bits if bits else 17)


def zstd_window(first: bytes) -> int:
    """The window that a frame's header asks for; 0 before all of it is there.

    See RFC 8878, 3.1.1.1. What asks for more than is allowed is refused by zstd itself.
    """
    if len(first) < ZSTD_HEADER_BYTES or first[:4] != ZSTD_MAGIC:
        return 0
    descriptor = first[4]
    if not descriptor & 0x20:
        base = 1 << 10 + (first[5] >> 3)
        window = base + base // 8 * (first[5] & 0b111)
    else:
        # The content's size stands for the window, behind a dictionary's number.
        start = 5 + (0, 1, 2, 4)[descriptor & 0b11]
        size = 1 << (descriptor >> 6)
        window = int.from_bytes(first[start : start + size], "little")
    return min(window, MOST_WINDOW_BYTES) + ZSTD_BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class _Coding:
    name: str
    member: Callable[[], Unpacker]
    repeats: bool = False


def _gzip() -> Unpacker:
    return _Zlib(GZIP_WINDOW)


_GZIP: Final = _Coding("gzip", _gzip, repeats=True)
CODINGS: Final = {
    "gzip": _GZIP,
    "x-gzip": _GZIP,
    "deflate": _Coding("deflate", _Deflate),
    "br": _Coding("br", _Brotli),
    "zstd": _Coding("zstd", _Zstd, repeats=True),
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


def decoded(body: bytes, content_encoding: str, limit: int) -> bytes:
    """A whole body without its codings. Raises Malformed or TooLarge."""
    decoder = Decoder(content_encoding, limit)
    out = b"".join(decoder.feed(body))
    decoder.end()
    return out
