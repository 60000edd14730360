"""A body in the store looks to a flow as one in line does, and stays where it is."""

import asyncio
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


def form_of(files: int, size: int, *, first: int = 0) -> bytes:
    """So many files of that size; with `first`, one of another size before them."""
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="%d"\r\n\r\n'
    sizes = [first, *[size] * files]
    parts = [head % n + b"%d" % (n % 10) * one for n, one in enumerate(sizes)]
    return b"\r\n".join([*parts, b"--b--\r\n"])


async def test_small_files_of_a_coded_form_are_read_with_it(tmp_path: Path) -> None:
    """To reach each of them anew, everything before it would be decoded again."""
    kind = "multipart/form-data; boundary=b"
    sent = request(kind, "gzip", b"")
    store = open_body_store(tmp_path.as_uri())
    async with store.writing(0) as writing:
        await writing.write(gzip.compress(form_of(20, 60_000, first=100_000)))
        stored = await writing.finish()
    sent.stored_body.CopyFrom(stored)

    _, files = await open_trigger(sent, store)
    assert await files["0"].content.whole(100_000) == b"0" * 100_000
    await store.delete(stored.name)

    # 1 MiB in all.
    for n in range(1, 18):
        content = files[f"{n}"].content
        assert await content.whole(60_000) == b"%d" % (n % 10) * 60_000
        assert content.sha256 == sha256(await content.whole(60_000)).hexdigest()
    for name in ("0", "18"):
        with pytest.raises(TerminalError, match="not there"):
            await files[name].content.whole(100_000)


async def test_a_file_of_a_coded_form_is_reached_off_the_loop() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    body = gzip.compress(form_of(1, 100_000, first=5_000_000))
    sent = request("multipart/form-data; boundary=b", "gzip", body)
    _, files = await open_trigger(sent, None)
    async with asyncio.TaskGroup() as tasks:
        turning = tasks.create_task(turn())
        assert await files["1"].content.whole(100_000) == b"1" * 100_000
        turning.cancel()

    assert turns


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_files_that_cost_too_much_to_reach_are_refused(coding: str) -> None:
    """Of a coded form, by who checks it as by who opens it; others may have as many."""
    kind = "multipart/form-data; boundary=b"
    sent = request(kind, coding, CODINGS[coding](form_of(900, 10_000)))
    if not coding:
        check(sent)
        assert len((await open_trigger(sent, None))[1]) == 901
        return

    with pytest.raises(TooLarge, match="no coding"):
        check(sent)
    with pytest.raises(TooLarge, match="no coding"):
        await open_trigger(sent, None)
