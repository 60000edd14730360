"""Bodies: by content type, exact, bounded; whatever comes, a value or Malformed."""

import gc
import json
import math
import tracemalloc
from contextlib import suppress
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.bodies import check, parse, trigger_of
from hookline.errors import Malformed, MissingContentType
from hookline.event import Attachment, InMemory, Value
from hookline.v1 import event_pb2

FORM = "application/x-www-form-urlencoded"


def test_long_names_and_types_are_read_and_not_kept() -> None:
    """Senders write them: many of 16 KiB would stay in memory otherwise."""
    header = event_pb2.Header(name=b"X-" + b"A" * 1_000_000, value=b"v")
    content_type = "application/json; a=" + "x" * 1_000_000
    typed = event_pb2.Header(name=b"Content-Type", value=content_type.encode())
    request = event_pb2.Request(method="POST", body=b"1", headers=[header, typed])
    tracemalloc.start()
    try:
        trigger, _ = trigger_of(request)
        assert trigger.headers["x-" + "a" * 1_000_000] == "v"
        assert (check(request), trigger.body) == (None, 1)
        del trigger
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


def body_value(content_type: str | None, body: bytes) -> Any:
    return parse(content_type, body).value


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", b"1" * 4_300, int("1" * 4_300)),
        ("Application/JSON; charset=UTF-8", b'{"a":1}', {"a": 1}),
        ("application/json", b"\xef\xbb\xbf[1]", [1]),
        ("application/json; charset=utf-16", '"é"'.encode("utf-16"), "é"),
        ("text/json", b'"x"', "x"),
        ("text/xml", b"<a/>", {"a": ""}),
        ("application/soap+xml", b"<a><b>1</b><b>2</b></a>", {"a": {"b": ["1", "2"]}}),
        ("text/xml", b"<a>x<b>1</b>y</a>", {"a": {"b": "1", "_": "xy"}}),
        (
            "text/xml",
            b'<x:a xmlns:x="urn:x"><x:b>1</x:b></x:a>',
            {"x-a": {"_attr": {"xmlns-x": "urn:x"}, "x-b": "1"}},
        ),
        (
            "text/xml",
            '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode("latin-1"),
            {"a": "é"},
        ),
        ("text/xml", b"<a>&lt;&amp;</a>", {"a": "<&"}),
        ("text/xml", b"<a><![CDATA[<!DOCTYPE html>]]></a>", {"a": "<!DOCTYPE html>"}),
        (
            FORM,
            b"a=1&a=2&b%5Bc%5D%5Bd%5D=x+y",
            {"a": ["1", "2"], "b": {"c": {"d": "x y"}}},
        ),
        (FORM, b"a[]=1", {"a": ["1"]}),
        (FORM, b"a[b=1&=2&c", {"a[b": "1", "": "2", "c": ""}),
        (FORM, b"", {}),
        ("text/plain", b"5", 5),
        ("text/plain; charset=latin-1", b"\xe9t\xe9", "été"),
        (None, b"", {}),
    ],
)
def test_a_body_becomes_the_value_its_type_says(
    content_type: str | None, body: bytes, value: Any
) -> None:
    assert body_value(content_type, body) == value


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b""),
        ("application/json", b"1" * 4_301),
        ("application/json", b"[" * 100_000 + b"]" * 100_000),
        ("application/json", b"NaN"),
        ("application/json", b'"\\ud800"'),
        ("application/json", b'{"a":1}x'),
        ("application/json; charset=klingon", b"1"),
        ("text/plain; charset=base64", b"YQ=="),
        ("text/xml", b""),
        ("text/xml", b"<a>" * 200 + b"</a>" * 200),
        ("text/xml", b"<a>" * 1_000_000),
        ("text/xml", b"<a>" + b"<b/>" * 200_000 + b"</a>"),
        ("text/xml", b"<a %b/>" % b" ".join(b'b%d=""' % n for n in range(200_001))),
        ("text/xml", b"<a>&undefined;</a>"),
        ("text/xml", b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'),
        ("text/xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16")),
        (FORM, b"a=%ff"),
        (FORM, b"a=1&a[b]=2"),
        (FORM, b"a" + b"[b]" * 40 + b"=1"),
        (FORM, b"&" * 10_000),
        (FORM, b"a" + b"[]" * 1_000_000),
    ],
)
def test_what_does_not_parse_is_malformed(content_type: str, body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(content_type, body)


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("image/jpeg", "payload.jpg"),
        ("application/pdf", "payload.pdf"),
        ("application/octet-stream", "payload.bin"),
        ("multipart/mixed; boundary=x", "payload.bin"),
        ("no type at all", "payload.bin"),
        ("", "payload.bin"),
    ],
)
def test_any_other_type_is_a_file(content_type: str, name: str) -> None:
    parsed = parse(content_type, b"\x00\xff")

    media_type = content_type.partition(";")[0]
    assert parsed.value == {}
    assert parsed.attachments == {name: Attachment(media_type, InMemory(b"\x00\xff"))}


@pytest.mark.parametrize("before", range(4))
def test_a_long_value_is_decoded_a_chunk_at_a_time(before: int) -> None:
    """Escapes are whole wherever they lie."""
    value = "x" * before + "é" * 40_000

    assert body_value(FORM, f"a={quote_plus(value)}".encode()) == {"a": value}


@given(st.text("%0aAfFgx é", max_size=40).map(str.encode))
def test_escapes_are_read_as_the_library_reads_them(written: bytes) -> None:
    """And what only looks like one stays as it is."""
    expected: Value = None
    with suppress(UnicodeDecodeError):
        expected = {"a": unquote_to_bytes(written).decode()}

    assert form_or_none(b"a=" + written) == expected


def form_or_none(body: bytes) -> Value:
    try:
        return body_value(FORM, body)
    except Malformed:
        return None


def test_a_body_without_a_type_is_not_taken() -> None:
    with pytest.raises(MissingContentType):
        parse(None, b"x")


def test_a_raw_body_is_its_text() -> None:
    assert parse("application/json", b'{"a": ', raw=True).value == '{"a": '


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_json_comes_back_as_it_was(value: Any) -> None:
    if isinstance(value, float) and math.isinf(value):
        return  # JSON has no such number
    try:
        written = json.dumps(value, allow_nan=False).encode()
    except ValueError:
        return  # nor inside
    assert body_value("application/json", written) == value


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="[]", codec="utf-8"), min_size=1),
        st.text(st.characters(codec="utf-8")),
    )
)
def test_a_form_comes_back_as_it_was(fields: dict[str, str]) -> None:
    written = "&".join(f"{quote_plus(k)}={quote_plus(v)}" for k, v in fields.items())

    assert body_value(FORM, written.encode()) == fields


TYPES = ["application/json", "text/xml", FORM, "text/plain", "text/xml; charset=utf-16"]


@given(
    st.sampled_from(TYPES), st.binary() | st.text("<a>&;[]x/=\"'! \n").map(str.encode)
)
@example("text/xml", b'<a xmlns:="x"/>')
@example("text/xml", b"<a\x00/>")
def test_whatever_comes_is_a_value_or_malformed(content_type: str, body: bytes) -> None:
    with suppress(Malformed):
        parse(content_type, body)


def request(body: bytes, *headers: tuple[bytes, bytes], query: str = "") -> Any:
    pairs = [event_pb2.Header(name=name, value=value) for name, value in headers]
    return event_pb2.Request(method="POST", body=body, headers=pairs, query=query)


def test_headers_are_in_lower_case_and_repeats_are_joined() -> None:
    trigger, _ = trigger_of(
        request(b"", (b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"caf\xe9"), query="q=1")
    )

    assert trigger.headers == {"x-a": "1, 2", "x-b": "café"}
    assert trigger.query == {"q": "1"}


@given(
    st.sampled_from(["GET", "POST"]),
    st.binary(max_size=20),
    st.sampled_from([*TYPES, None]),
    st.sampled_from(["", "a=1", "a=%ff"]),
)
def test_what_is_checked_at_the_door_can_be_read_later(
    method: str, body: bytes, content_type: str | None, query: str
) -> None:
    """`check` lets through exactly what `trigger_of` reads."""
    headers = [(b"Content-Type", content_type.encode())] if content_type else []
    sent = request(body, *headers, query=query)
    sent.method = method
    try:
        check(sent)
    except (Malformed, MissingContentType) as refused:
        with pytest.raises(type(refused)):
            trigger_of(sent)
    else:
        trigger_of(sent)
