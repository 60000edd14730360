"""Names of charsets come from senders: they cost no time, and nothing keeps them."""

import encodings
from typing import Final

import pytest

from hookline.bodies import parse
from hookline.errors import Malformed
from tests.security.cpu import least_cpu_s

QUADRATIC: Final = b"a" * 200_000 + b"-" + b"a9" * 50_000


def declared(charset: str) -> bytes:
    return f'<?xml version="1.0" encoding="{charset}"?><a/>'.encode()


@pytest.mark.security("S16", "S17")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain; charset=punycode", QUADRATIC),
        ("application/json; charset=punycode", QUADRATIC),
        ("text/plain; charset=idna", b"a." * 500_000),
        ("text/xml; charset=punycode", QUADRATIC),
        ("text/xml", declared("punycode")),
    ],
)
def test_a_charset_that_takes_its_time_is_none(content_type: str, body: bytes) -> None:
    """Some of Python's are made for host names, and take minutes for a long text."""
    with pytest.raises(Malformed, match="charset"):
        parse(content_type, body)

    assert least_cpu_s(lambda: parse(content_type, body)) < 0.05


@pytest.mark.security("S16", "S17")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain; charset=nobodys-1", b"a"),
        ("application/json; charset=nobodys-2", b"1"),
        ("text/xml; charset=nobodys-3", b"<a/>"),
        ("text/xml", declared("nobodys-4")),
        ("text/xml", declared("nobodys-5").decode().encode("utf-16")),
        ("text/xml", declared("nobodys" + "s" * 100_000)),
        ("text/xml", declared("nobodys-6").replace(b"<?xml", b"<?xml" + b" " * 1_000)),
    ],
)
def test_the_name_of_a_charset_is_not_kept(content_type: str, body: bytes) -> None:
    """Python's table of codecs remembers every name that it was asked for."""
    with pytest.raises(Malformed):
        parse(content_type, body)

    kept: dict[str, object] = vars(encodings)["_cache"]
    assert [name for name in kept if name.startswith("nobodys")] == []


@pytest.mark.parametrize(
    "charset",
    [
        *("utf-8", "UTF8", "us-ascii", "iso-8859-1", "ISO_8859-15", "latin1", "utf-16"),
        *("windows-1252", "cp1251", "shift_jis", "euc-jp", "big5", "gb2312", "gb18030"),
        *("koi8-r", "koi8-u", "iso-2022-jp", "macintosh", "utf-32-le", "cp437"),
    ],
)
def test_the_charsets_of_the_world_are_taken(charset: str) -> None:
    assert parse(f"text/plain; charset={charset}", "abc".encode(charset)).value == "abc"
