"""Content codings: every kind, in any pieces, bounded, and broken ones refused."""

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli  # noqa: TID251 - packs what bodies unpack
import pytest
from backports import zstd  # noqa: TID251 - packs what bodies unpack
from hypothesis import given
from hypothesis import strategies as st

from hookline.bodies_encoding import Decoder
from hookline.bodies_unpackers import PIECE_BYTES
from hookline.errors import Malformed, TooLarge, UnsupportedCoding

MB = 1024 * 1024


def decoded(body: bytes, content_encoding: str, limit: int) -> bytes:
    """A whole body without its codings."""
    decoder = Decoder(content_encoding, limit)
    out = b"".join(decoder.feed(body))
    decoder.end()
    return out


def bare_deflate(body: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(body) + packing.flush()


def gzip_in_br(body: bytes) -> bytes:
    return bytes(brotli.compress(gzip.compress(body)))


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("X-GZip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("br", brotli.compress),
    ("zstd", zstd.compress),
    ("gzip, br", gzip_in_br),
    ("gzip, identity", gzip.compress),
    ("", bytes),
    ("identity", bytes),
]
REAL = [(name, pack) for name, pack in PACKED if pack is not bytes]


@pytest.mark.parametrize(("coding", "pack"), PACKED)
@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=6))
def test_a_body_comes_back_in_any_pieces(
    coding: str, pack: Callable[[bytes], bytes], body: bytes, cuts: list[int]
) -> None:
    packed = pack(body)
    places = [0, *sorted(cut % (len(packed) + 1) for cut in cuts), len(packed)]
    decoder = Decoder(coding, 1000)

    out = [piece for a, b in pairwise(places) for piece in decoder.feed(packed[a:b])]
    decoder.end()

    assert b"".join(out) == body


@pytest.mark.parametrize(("coding", "pack"), REAL)
def test_a_bomb_is_refused_piece_by_piece(
    coding: str, pack: Callable[[bytes], bytes]
) -> None:
    """What one piece unpacks to is never held as a whole."""
    decoder = Decoder(coding, 10 * MB)
    sizes: list[int] = []

    with pytest.raises(TooLarge):
        sizes.extend(len(piece) for piece in decoder.feed(pack(bytes(64 * MB))))

    assert sum(sizes) <= 10 * MB
    assert max(sizes) < 3 * PIECE_BYTES


@pytest.mark.parametrize(("coding", "pack"), REAL)
def test_the_limit_is_the_last_byte(
    coding: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(bytes(1000))

    assert decoded(packed, coding, 1000) == bytes(1000)
    with pytest.raises(TooLarge):
        decoded(packed, coding, 999)


@pytest.mark.parametrize(("coding", "pack"), REAL)
@pytest.mark.parametrize("spoil", ["cut", "garbage", "changed"])
def test_a_broken_one_is_malformed(
    coding: str, pack: Callable[[bytes], bytes], spoil: str
) -> None:
    packed = pack(b"hello, hello, hello")
    match spoil:
        case "cut":
            packed = packed[:-1]
        case "garbage":
            packed += b"garbage"
        case "changed":
            packed = b"\xff\xff" + packed[2:]

    with pytest.raises(Malformed):
        decoded(packed, coding, MB)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_members_in_a_row_are_one_body(pack: Callable[[bytes], bytes]) -> None:
    coding = "gzip" if pack is gzip.compress else "zstd"

    assert decoded(pack(b"a") + pack(b"") + pack(b"b"), coding, MB) == b"ab"
    with pytest.raises(Malformed, match="members"):
        decoded(pack(b"") * 10_001, coding, MB)


@pytest.mark.parametrize("coding", ["compress", "gzip, compress", "gzip, gzip, gzip"])
def test_others_and_more_of_them_are_refused(coding: str) -> None:
    with pytest.raises(UnsupportedCoding):
        Decoder(coding, MB)


def test_a_window_is_bounded() -> None:
    """A frame may ask its reader for any amount of memory."""
    options = {int(zstd.CompressionParameter.window_log): 27}

    with pytest.raises(Malformed):
        decoded(zstd.compress(bytes(64 * MB), options=options), "zstd", 100 * MB)


def zstd_with(window_log: int) -> bytes:
    options = {int(zstd.CompressionParameter.window_log): window_log}
    packing = zstd.ZstdCompressor(options=options)
    return packing.compress(b"hello" * 1000) + packing.flush()


def br_with(window_log: int) -> bytes:
    return bytes(brotli.compress(b"hello" * 1000, lgwin=window_log))


@pytest.mark.parametrize("window_log", range(10, 24))
@pytest.mark.parametrize(("coding", "pack"), [("br", br_with), ("zstd", zstd_with)])
def test_a_window_counts_from_its_first_bytes(
    coding: str, pack: Callable[[int], bytes], window_log: int
) -> None:
    """Though nothing has come yet that would fill it; each coding has its own."""
    decoder = Decoder(coding, MB)
    assert decoder.held == 0
    list(decoder.feed(pack(window_log)[:20]))

    spare = PIECE_BYTES if coding == "zstd" else 0
    assert decoder.held == (1 << window_log) + spare
    twice = Decoder("gzip, br", MB)
    list(twice.feed(brotli.compress(gzip.compress(b"hello"), lgwin=window_log)))
    assert twice.held > 1 << window_log


def test_a_frame_that_is_one_segment_counts_as_large_as_it_says() -> None:
    decoder = Decoder("zstd", 10 * MB)
    list(decoder.feed(zstd.compress(bytes(MB))[:17]))

    assert decoder.held == MB + PIECE_BYTES


def test_a_window_of_brotli_is_bounded() -> None:
    with pytest.raises(Malformed, match="window"):
        list(Decoder("br", MB).feed(br_with(24)[:1]))
