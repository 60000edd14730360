"""The members that codings consist of: zlib, zstd and brotli, made to look alike.

Each gives what it unpacks in pieces of bounded size, and says how much it holds between
two pieces: its window, which a few bytes can ask for.
"""

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

import brotli
from backports import zstd

from hookline.errors import Malformed

PIECE_BYTES: Final = 256 * 1024
MOST_WINDOW_LOG: Final = 23  # 8 MiB: what RFC 9659 allows on the web
MOST_WINDOW_BYTES: Final = 1 << MOST_WINDOW_LOG
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


class Zlib:
    """zlib's formats."""

    held = ZLIB_BYTES

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        """Whether it is at its end."""
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        """What follows its end."""
        return self._inner.unused_data

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """What a piece unpacks to."""
        while not self._inner.eof:
            out = self._inner.decompress(piece, PIECE_BYTES)
            piece = self._inner.unconsumed_tail
            if out:
                yield out
            if not piece and len(out) < PIECE_BYTES:
                return


class Deflate:
    """The zlib format, as RFC 9110 says; or bare deflate, as some have always sent."""

    held = ZLIB_BYTES

    def __init__(self) -> None:
        self._first = b""
        self._inner: Zlib | None = None

    @property
    def eof(self) -> bool:
        """Whether it is at its end."""
        return self._inner is not None and self._inner.eof

    @property
    def rest(self) -> bytes:
        """What follows its end."""
        return self._inner.rest if self._inner is not None else b""

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """What a piece unpacks to."""
        if self._inner is None:
            self._first += piece
            if len(self._first) < 2:  # noqa: PLR2004 - zlib's header
                return
            piece = self._first
            self._inner = Zlib(zlib.MAX_WBITS * (1 if _is_zlib(piece) else -1))
        yield from self._inner.unpack(piece)


def _is_zlib(start: bytes) -> bool:
    return start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0  # noqa: PLR2004


class Zstd:
    """A frame of zstd."""

    def __init__(self) -> None:
        options = {int(zstd.DecompressionParameter.window_log_max): MOST_WINDOW_LOG}
        self._inner = zstd.ZstdDecompressor(options=options)
        self._first = b""

    @property
    def held(self) -> int:
        """Its window, once its header is here."""
        return zstd_window(self._first)

    @property
    def eof(self) -> bool:
        """Whether it is at its end."""
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        """What follows its end."""
        return self._inner.unused_data

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """What a piece unpacks to."""
        self._first += piece[: ZSTD_HEADER_BYTES - len(self._first)]
        while not self._inner.eof:
            out = self._inner.decompress(piece, PIECE_BYTES)
            piece = b""
            if out:
                yield out
            if self._inner.needs_input:
                return


class Brotli:
    """A stream of brotli."""

    rest = b""  # brotli itself fails on bytes behind its end

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self.held = 0

    @property
    def eof(self) -> bool:
        """Whether it is at its end."""
        return bool(self._inner.is_finished())

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """What a piece unpacks to."""
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
