"""multipart/form-data: the same parts however the bytes come, files as ranges, bounded."""

from base64 import b64encode
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.bodies import parse
from hookline.bodies_kinds import read_field
from hookline.bodies_multipart import Multipart
from hookline.errors import Malformed, TooLarge
from hookline.event import InMemory

BOUNDARY = "Bb"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
Part = tuple[str, bytes]


def form(*parts: Part, closed: bool = True) -> bytes:
    """A body of these parts, each its header lines and its content."""
    body = b"".join(
        f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    return body + (f"--{BOUNDARY}--\r\n".encode() if closed else b"")


def field(name: str, *more: str) -> str:
    return "\r\n".join([f'Content-Disposition: form-data; name="{name}"', *more])


def file(file_name: str, *more: str) -> str:
    head = f'Content-Disposition: form-data; name="f"; filename="{file_name}"'
    return "\r\n".join([head, *more])


def read(pieces: list[bytes]) -> Multipart:
    parts = Multipart(BOUNDARY, read_field, digests=True)
    for piece in pieces:
        parts.feed(piece)
    parts.end()
    return parts


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[a:b] for a, b in pairwise(places)]


# Contents that look like boundaries for a while.
CONTENT = st.lists(
    st.sampled_from(
        [
            b"\r",
            b"\n",
            b"-",
            b"--",
            b"\r\n--",
            b"\r\n--B",
            b"Bb",
            b"--Bb",
            b"x",
            b"\xff",
        ]
    )
).map(b"".join)


def is_content(content: bytes) -> bool:
    return b"\r\n--Bb" not in b"\r\n" + content


@given(
    st.lists(CONTENT.filter(is_content), max_size=4), st.lists(st.integers(min_value=0))
)
@example([b"\r\n--B", b""], list(range(300)))
def test_files_are_the_same_however_a_body_comes(
    contents: list[bytes], cuts: list[int]
) -> None:
    """They are ranges of the body that hold the very bytes, with their digest."""
    body = form(*((file(f"{n}"), content) for n, content in enumerate(contents)))

    files = read(split(body, cuts)).files

    assert [body[f.start : f.start + f.size] for f in files] == contents
    assert [f.sha256 for f in files] == [sha256(c).hexdigest() for c in contents]


@given(
    st.lists(st.text("ab\r\n-B", max_size=8).filter(lambda t: is_content(t.encode()))),
    st.lists(st.integers(min_value=0)),
)
def test_fields_are_the_same_however_a_body_comes(
    texts: list[str], cuts: list[int]
) -> None:
    body = form(*((field(f"n{n}"), text.encode()) for n, text in enumerate(texts)))

    fields = read(split(body, cuts)).fields

    assert fields == {f"n{n}": text for n, text in enumerate(texts)}


@given(st.lists(st.binary(max_size=40).filter(is_content), min_size=1, max_size=4))
def test_another_reader_finds_the_same(contents: list[bytes]) -> None:
    """Python's e-mail parser, on a form whose contents are base64 for it."""
    body = form(*((file(f"{n}"), b64encode(c)) for n, c in enumerate(contents)))
    head = f"Content-Type: {TYPE}\r\n\r\n".encode()
    message: EmailMessage = BytesParser(EmailMessage, policy=HTTP).parsebytes(
        head + body
    )

    theirs = [str(part.get_payload()).encode() for part in message.iter_parts()]

    files = read([body]).files
    assert [body[f.start : f.start + f.size] for f in files] == theirs


@given(st.binary(max_size=60), st.lists(st.integers(min_value=0), max_size=5))
def test_what_is_no_form_is_malformed_however_it_comes(
    body: bytes, cuts: list[int]
) -> None:
    """No other error, and the same verdict for all pieces."""
    whole = outcome([body])
    in_pieces = outcome(split(body, cuts))

    assert whole == in_pieces


@given(st.data())
def test_a_broken_form_is_judged_the_same_however_it_comes(data: st.DataObject) -> None:
    body = bytearray(form((field("a"), b"1"), (file("b"), b"2")))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place : place + 1] = data.draw(st.binary(max_size=2))
    cuts = data.draw(st.lists(st.integers(min_value=0), max_size=5))

    assert outcome([bytes(body)]) == outcome(split(bytes(body), cuts))


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n", b"\r\nno-part\r\n", b"x\r\n"])
def test_what_stands_before_the_first_part_is_judged_the_same(before: bytes) -> None:
    """Empty lines are taken, anything else is not."""
    body = before + form((file("a"), b"1"))
    verdicts = [outcome([body[:cut], body[cut:]]) for cut in range(len(body))]

    assert all(verdict == verdicts[0] for verdict in verdicts)
    if before.strip():
        assert verdicts[0] is Malformed
    else:
        [found] = verdicts[0][1]
        assert body[found.start : found.start + found.size] == b"1"


def outcome(pieces: list[bytes]) -> Any:
    try:
        parts = read(pieces)
    except Malformed:
        return Malformed
    return parts.fields, parts.files


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        ([], {}),
        ([(field("a"), b"1")], {"a": "1"}),
        ([(field("a"), b"1"), (field("a"), b"2")], {"a": ["1", "2"]}),
        (
            [(field("a", "Content-Type: application/json"), b'[{"n":1}]')],
            {"a": [{"n": 1}]},
        ),
        (
            [
                (field("a", "content-type: application/json"), b"[1]"),
                (field("a"), b"2"),
            ],
            {"a": [[1], "2"]},
        ),
        ([(field("a", "Content-Type: text/plain"), b"5")], {"a": "5"}),
        (
            [(field("a", "Content-Type: text/plain; charset=latin-1"), b"\xe9")],
            {"a": "é"},
        ),
        ([(field("ü"), "ö".encode())], {"ü": "ö"}),
        ([(field("a%22b"), b"")], {'a"b': ""}),
        ([(field("a", "Content-Length: +5"), b"1")], {"a": "1"}),
        ([("content-disposition: form-data; name=a", b"1")], {"a": "1"}),
    ],
)
def test_fields_are_the_body(parts: list[Part], value: Any) -> None:
    parsed = parse(TYPE, form(*parts))

    assert parsed.value == value
    assert not parsed.attachments


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("pic.jpg", "pic.jpg"),
        ("../../x", "x"),
        ("..\\\\..\\\\x.txt", "x.txt"),
        ("C:\\\\dir\\\\x.txt", "x.txt"),
        ("/etc/passwd", "passwd"),
        ("..", "file"),
        (".bashrc", "bashrc"),
        ("", "file"),
        ("a%22b%0D%0A.txt", 'a"b.txt'),
        ("évi\u202egpj.exe", "évigpj.exe"),
        ("x" * 300 + ".txt", "x" * 251 + ".txt"),
    ],
)
def test_a_files_name_is_made_safe(given: str, name: str) -> None:
    body = form((file(given, "Content-Type: text/csv"), b"\x00"))

    [(found, attachment)] = parse(TYPE, body).attachments.items()

    assert found == name
    assert attachment.content_type == "text/csv"
    assert attachment.content == InMemory(b"\x00")


def test_a_file_of_the_same_name_gets_a_number() -> None:
    names = ["a.tar.gz", "a.tar.gz", "a.tar-2.gz", "a.tar.gz", "b", "b"]

    parsed = parse(TYPE, form(*((file(name), b"") for name in names)))

    assert list(parsed.attachments) == [
        "a.tar.gz",
        "a.tar-2.gz",
        "a.tar-2-2.gz",
        "a.tar-3.gz",
        "b",
        "b-2",
    ]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (
            "Content-Disposition: form-data; name=f; filename*=utf-8''%e2%82%ac.txt",
            "€.txt",
        ),
        (field("pic", "Content-Type: image/png"), "pic.png"),
        (field("f", "Content-Type: multipart/mixed; boundary=inner"), "f.bin"),
    ],
)
def test_a_part_that_is_no_text_is_a_file(head: str, name: str) -> None:
    assert list(parse(TYPE, form((head, b"\xff"))).attachments) == [name]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        form((field("a"), b"1"), closed=False),
        form((field("a"), b"1"))[:-4],
        b"preamble\r\n" + form((field("a"), b"1")),
        form(("Content-Type: text/plain", b"1")),
        form(("no header", b"1")),
        form((field("a", "X: a\nb"), b"1")),
        form((field("a", "X: \x00"), b"1")),
        form((field("a", "X: " + "x" * 9000), b"1")),
        form((field("a", *["X: y"] * 20), b"1")),
        form((field("a", "Content-Type: application/json"), b"{")),
        form((field("a"), b"\xff")),
        form(*[(field("a"), b"1")] * 1001),
        form((field("a"), b"\r\n--Bbx" * 3000)),
        form((field("a"), b"\r\n--Bb" + b" " * 100_000)),
    ],
)
def test_what_is_not_a_form_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(TYPE, body)


@pytest.mark.parametrize("boundary", ["", '""', "x" * 71])
def test_a_form_names_its_boundary(boundary: str) -> None:
    with pytest.raises(Malformed, match="boundary"):
        parse(f"multipart/form-data; boundary={boundary}", b"----\r\n")


def test_fields_are_bounded_and_files_are_not() -> None:
    half = b"x" * 600_000

    assert len(parse(TYPE, form((file("a"), half), (file("b"), half))).attachments) == 2
    with pytest.raises(TooLarge):
        parse(TYPE, form((field("a"), half), (field("b"), half)))
