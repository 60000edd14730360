"""Signatures over bodies of every kind and size, coded and plain, sized and in chunks.

The signature is over the bytes as sent, and so is what arrives; one bit less is refused.
"""

import gzip
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest

from tests.stores import Place
from tests.test_stored_uploads import (
    IN_LINE,
    KEY,
    KIB,
    Way,
    one_process,
    services,
)

Make = Callable[[int], bytes]


def filled(begin: bytes, end: bytes) -> Make:
    """Bodies of a size: text between two ends."""
    return lambda size: begin + b"x" * (size - len(begin) - len(end)) + end


PART = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n'
EVENT = b'{"specversion":"1.0","id":"1","source":"/","type":"t","data":"'
KINDS: Mapping[str, tuple[str, Make]] = {
    "json": ("application/json", filled(b'"', b'"')),
    "xml": ("application/xml", filled(b"<a>", b"</a>")),
    "form": ("application/x-www-form-urlencoded", filled(b"a=", b"")),
    "text": ("text/plain", filled(b"", b"")),
    "file": ("application/octet-stream", filled(b"\x00", b"\xff")),
    "unknown": ("x/y", filled(b"", b"")),
    "multipart": ("multipart/form-data; boundary=b", filled(PART, b"\r\n--b--\r\n")),
    "event": ("application/cloudevents+json", filled(EVENT, b'"}')),
}
EDGES = [at + more for at in (64 * KIB, IN_LINE) for more in (-1, 0, 1)]
SIZES = [10, *EDGES, 5_000_000]
# What stands around them has more than ten bytes.
LARGE_ONLY = {"multipart", "event"}


@pytest.fixture(params=[one_process, services])
async def way(
    request: pytest.FixtureRequest, tmp_path: Path, place: Place
) -> AsyncIterator[Way]:
    async with request.param(tmp_path, place.url) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["directory"], indirect=True)
async def test_a_signature_holds_over_every_body(way: Way, kind: str) -> None:
    """In each size, coding and framing; a wrong one is refused and leaves no event."""
    content_type, make = KINDS[kind]
    sizes = SIZES[1:] if kind in LARGE_ONLY else SIZES
    for size, coding, sized in product(sizes, ("", "gzip"), (True, False)):
        case = (size, coding, sized)
        body = make(size)
        assert len(body) == size
        # Coded without being compressed, so that these, too, have about their size.
        sent = gzip.compress(body, compresslevel=0) if coding else body
        headers = [("Content-Type", content_type)]
        headers += [("Content-Encoding", coding)] if coding else []
        right = hmac.digest(KEY.encode(), sent, sha256)
        wrong = bytes([right[0] ^ 1]) + right[1:]

        async def answered(signature: bytes) -> int:
            signed = ("x-eio-signature", signature.hex())
            answer = await way.send("signed", sent, *headers, signed, sized=sized)  # noqa: B023 - asked at once
            return answer.status

        assert await answered(right) == 200, case
        assert await way.body() == sent, case
        before = len(await way.events())
        assert await answered(wrong) in {401, 429}, case
        assert len(await way.events()) == before, case
