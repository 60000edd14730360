"""A body in the store looks to a flow as one in line does, and stays where it is."""

import gzip
from hashlib import sha256
from pathlib import Path
from typing import Any

import brotli  # noqa: TID251 - packs what bodies unpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.bodies import begin_check, check, open_trigger, trigger_of
from hookline.body_store import open_body_store
from hookline.errors import Malformed, Rejected, TerminalError, TooLarge, Unavailable
from hookline.event import InMemory
from hookline.v1 import event_pb2

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.bin"\r\n\r\n'
    + bytes(range(256))
    * 40
    + b'\r\n--b\r\nContent-Disposition: form-data; name="g"; filename="g.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\n\r\n--b--\r\n"
)
BODIES = {
    "application/json": b'{"n": [1, 2]}',
    "text/xml": b"<a>1</a>",
    "application/x-www-form-urlencoded": b"a=1",
    "text/plain; charset=latin-1": b"\xe9",
    "image/png": bytes(range(256)) * 50,
    "multipart/form-data; boundary=b": FORM,
    "application/cloudevents+json": (
        b'{"specversion":"1.0","id":"1","source":"s","type":"t"}'
    ),
}
CODINGS: dict[str, Any] = {
    "": bytes,
    "gzip": gzip.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
}


def request(content_type: str, coding: str, body: bytes) -> event_pb2.Request:
    pairs = [(b"Content-Type", content_type.encode())]
    if coding:
        pairs.append((b"content-encoding", coding.encode()))
    headers = [event_pb2.Header(name=name, value=value) for name, value in pairs]
    return event_pb2.Request(method="POST", headers=headers, body=body)


@pytest.mark.parametrize("content_type", BODIES)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("raw", [True, False])
async def test_a_stored_body_is_seen_as_one_in_line(
    tmp_path: Path, content_type: str, coding: str, raw: bool
) -> None:
    """Value, headers, and files with their sizes, digests and bytes."""
    plain = BODIES[content_type]
    body = CODINGS[coding](plain)
    in_line = request(content_type, coding, body)
    store = open_body_store(tmp_path.as_uri())
    async with store.writing(0) as writing:
        await writing.write(body)
        stored = await writing.finish()
    sent = request(content_type, coding, b"")
    sent.stored_body.CopyFrom(stored)
    if raw and b"\xff" in plain:
        for opening in (
            open_trigger(sent, store, raw=raw),
            open_trigger(in_line, None, raw=raw),
        ):
            with pytest.raises(Malformed):
                await opening
        return

    trigger, attachments = await open_trigger(sent, store, raw=raw)
    expected, files = await open_trigger(in_line, None, raw=raw)

    assert trigger.body == expected.body
    assert trigger.headers == expected.headers
    assert await trigger.raw_body.whole(len(body)) == body
    assert list(attachments) == list(files)
    for name, file in files.items():
        content = await attachments[name].content.whole(file.size)
        assert content == await file.content.whole(file.size)
        assert content in plain
        assert attachments[name].size == file.size == len(content)
        digest = sha256(content).hexdigest()
        assert attachments[name].content.sha256 == file.content.sha256 == digest


async def test_more_than_may_be_held_is_not_read() -> None:
    in_line = request("image/png", "gzip", gzip.compress(bytes(1000)))

    _, attachments = await open_trigger(in_line, None)

    for content in (attachments["payload.png"].content, InMemory(bytes(1000))):
        with pytest.raises(TerminalError, match="999"):
            await content.whole(999)


async def test_without_a_store_a_stored_body_is_awaited() -> None:
    sent = request("text/plain", "", b"")
    sent.stored_body.name = "0/x"

    with pytest.raises(Unavailable, match="HOOKLINE_BODIES__STORE"):
        await open_trigger(sent, None)


@given(
    st.sampled_from(list(BODIES)),
    st.sampled_from(["", "gzip", "br", "x"]),
    st.sampled_from(list(BODIES.values()))
    | st.sampled_from(list(BODIES.values())).map(gzip.compress)
    | st.binary(min_size=1, max_size=50),
    st.integers(min_value=1, max_value=2000),
    st.sampled_from(["", "raw=true", "raw=%ff"]),
)
def test_pieces_are_judged_as_the_whole(
    content_type: str, coding: str, body: bytes, size: int, query: str
) -> None:
    sent = request(content_type, coding, body)
    sent.query = query
    head = request(content_type, coding, b"")
    head.query = query

    reading = begin_check(head, raw=False, limit=100_000)
    refusals: list[type[Exception] | None] = []
    for judge in (
        lambda: check(sent),
        lambda: feed(reading, body, size),
        lambda: trigger_of(sent),
    ):
        try:
            judge()
        except Rejected as error:
            refusals.append(type(error))
        else:
            refusals.append(None)

    assert len(set(refusals)) == 1


def feed(reading: Any, body: bytes, size: int) -> None:
    for start in range(0, len(body), size):
        reading.feed(body[start : start + size])
    reading.end()


@pytest.mark.parametrize(
    ("content_type", "held"),
    [("multipart/form-data; boundary=b", 1), ("image/png", 0), ("text/plain", 10_000)],
)
def test_what_is_not_parsed_whole_is_not_held(content_type: str, held: int) -> None:
    """Fields are held, files are not."""
    body = FORM if "multipart" in content_type else b"x" * 10_000
    reading = begin_check(request(content_type, "", b""), raw=False, limit=100_000)

    for start in range(0, len(body), 100):
        reading.feed(body[start : start + 100])

    assert reading.held == held
    assert reading.gathers == (held > 1)


@pytest.mark.parametrize("content_type", BODIES)
def test_a_decoded_body_is_within_the_flows_limit(content_type: str) -> None:
    body = gzip.compress(BODIES[content_type])
    size = len(BODIES[content_type])
    sent = request(content_type, "gzip", body)

    check(sent, limit=size)
    for judge in (check, trigger_of):
        with pytest.raises(TooLarge):
            judge(sent, limit=size - 1)


def test_raw_may_be_asked_for_in_the_query() -> None:
    sent = request("application/json", "", b'{"a": ')
    sent.query = "raw=true&b=1"

    check(sent)
    trigger, _ = trigger_of(sent)

    assert trigger.body == '{"a": '
    assert trigger.query == {"raw": "true", "b": "1"}
    sent.query = "raw=false"
    with pytest.raises(Malformed):
        check(sent)
