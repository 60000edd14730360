"""Heads and bodies that others read differently, or that have no end: refused, closed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.caller import Answer, call_raw, read_answer, request_bytes
from tests.instance import JSON, Instance, running
from tests.waiting import until

OPEN = """
id: open
trigger: {webhook: {max_body: 100kB, auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
LINE = b"POST /hook/open HTTP/1.1"
HOST = b"Host: hooks.example"
TYPE = b"Content-Type: application/json"
ONE = b"Content-Length: 1"
CHUNKED = b"Transfer-Encoding: chunked"
A_CHUNK = b"1\r\n1\r\n0\r\n\r\n"


def http(
    *lines: bytes,
    body: bytes = b"1",
    line: bytes = LINE,
    first: Sequence[bytes] = (HOST, TYPE),
) -> bytes:
    return b"\r\n".join([line, *first, *lines]) + b"\r\n\r\n" + body


# Each would be one request to one reader, and another or two to the next.
SMUGGLED = {
    "length and chunks": http(b"Content-Length: 5", CHUNKED, body=A_CHUNK),
    "chunks and length": http(CHUNKED, b"Content-Length: 5", body=A_CHUNK),
    "the same length twice": http(ONE, ONE),
    "two lengths": http(ONE, b"Content-Length: 2", body=b"11"),
    "a list of lengths": http(b"Content-Length: 1, 1"),
    "a length with a sign": http(b"Content-Length: +1"),
    "a length below nothing": http(b"Content-Length: -1"),
    "a length in another base": http(b"Content-Length: 0x1"),
    "a length with a space": http(b"Content-Length: 1 1", body=b"1" * 11),
    "a length with a letter": http(b"Content-Length: 1_0", body=b"1" * 10),
    "no length in a length": http(b"Content-Length: "),
    "a length out of bounds": http(b"Content-Length: " + b"9" * 23),
    "all 64 bits of a length": http(b"Content-Length: %d" % (2**64 - 1)),
    "64 bits of a length but one": http(b"Content-Length: %d" % (2**64 - 2)),
    "a length with 64 bits": http(b"Content-Length: %d" % 2**63),
    "an unknown coding": http(b"Transfer-Encoding: xchunked", body=A_CHUNK),
    "chunked, not last": http(b"Transfer-Encoding: chunked, identity", body=A_CHUNK),
    "chunked, not alone": http(b"Transfer-Encoding: gzip, chunked", body=A_CHUNK),
    "chunked twice": http(b"Transfer-Encoding: chunked, chunked", body=A_CHUNK),
    "two codings": http(CHUNKED, b"Transfer-Encoding: x", body=A_CHUNK),
    "the coding twice": http(CHUNKED, CHUNKED, body=A_CHUNK),
    "a coding in quotes": http(b'Transfer-Encoding: "chunked"', body=A_CHUNK),
    "a coding after a tab": http(b"Transfer-Encoding: \x0bchunked", body=A_CHUNK),
    "no coding, and a length": http(b"Transfer-Encoding: identity", ONE),
    "chunks in HTTP/1.0": http(CHUNKED, line=LINE[:-1] + b"0", body=A_CHUNK),
    "a space before the colon": http(b"Content-Length : 1"),
    "a tab before the colon": http(b"Transfer-Encoding\t: chunked", body=A_CHUNK),
    "a header in two lines": http(b"X-A: b\r\n c", ONE),
    "a space before the first header": http(ONE, first=[b" " + HOST, TYPE]),
    "line feeds alone": http(ONE).replace(b"\r\n", b"\n"),
    "a line feed in a value": http(b"X-A: b\nX-B: c", ONE),
    "a carriage return in a value": http(b"X-A: b\rX-B: c", ONE),
    "NUL in a value": http(b"X-A: b\0c", ONE),
    "CONNECT to nowhere": http(line=b"CONNECT  HTTP/1.1"),
    "CONNECT to nowhere in HTTP/0.9": http(line=b"CONNECT  "),
    "NUL in a name": http(b"X\0A: b", ONE),
    "NUL in the path": http(ONE, line=b"POST /hook/open\0 HTTP/1.1"),
    "two hosts": http(b"Host: other", ONE),
    "no host": http(ONE, first=[TYPE]),
    "no version": http(line=b"POST /hook/open", first=[], body=b""),
    "another version": http(ONE, line=LINE[:-3] + b"2.0"),
    "the start of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a chunk with a sign": http(CHUNKED, body=b"+" + A_CHUNK),
    "a chunk in another base": http(CHUNKED, body=b"0x" + A_CHUNK),
    "a chunk with a space": http(CHUNKED, body=b"1 \r\n1\r\n0\r\n\r\n"),
    "a chunk out of bounds": http(CHUNKED, body=b"1" + b"0" * 16 + b"\r\n1\r\n"),
    "a chunk after a line feed": http(CHUNKED, body=b"1\n1\r\n0\r\n\r\n"),
    "a line feed in an extension": http(CHUNKED, body=b"1;a\nb\r\n1\r\n0\r\n\r\n"),
    "a chunk without its end": http(CHUNKED, body=b"1\r\n1XX0\r\n\r\n"),
}
BLANKS = b"4e20\r\n" + b" " * 20_000 + b"\r\n"
LONG_EXTENSION = b"1;a=" + b"x" * 9_000 + b"\r\n1\r\n"
FLOODS = {
    "a long extension": LONG_EXTENSION,
    "a long extension after much": BLANKS + LONG_EXTENSION,
    "many extensions": (b"1;a=" + b"x" * 3_000 + b"\r\n1\r\n") * 20,
    "many trailers": b"1\r\n1\r\n0\r\n" + b"X-T: a\r\n" * 1_000,
    "a long trailer": b"1\r\n1\r\n0\r\nX-T: " + b"a" * 9_000 + b"\r\n",
}


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, OPEN) as instance:
        yield instance


async def answered(instance: Instance, *pieces: bytes) -> tuple[Answer, bytes]:
    """The answer, and what comes after it until the connection ends."""
    host, _, port = instance.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await read_answer(reader)
    try:
        rest = await reader.read()
    except ConnectionResetError:  # it closes on what it has not read
        rest = b""
    writer.close()
    return answer, rest


async def assert_nothing_kept(instance: Instance) -> None:
    """The event of a good request is the first, and the only one."""
    good = await instance.send("open", b"1")
    await instance.result(good)
    assert [event.id for event in instance.ends.order] == [good.headers["x-event-id"]]


def assert_refused(answer: Answer, status: int, slug: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == f"urn:hookline:problem:{slug}"
    assert answer.json["detail"] == answer.json["error"]
    assert answer.json["requestId"] == answer.headers["x-request-id"]


@pytest.mark.security("S01-S12")
@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_request_that_can_be_read_in_two_ways_is_400(
    hookline: Instance, name: str
) -> None:
    """S01 to S12: the connection ends, with what else is on it, and nothing is kept."""
    smuggled = request_bytes("POST", "/hook/open", [JSON], b"2")

    answer, rest = await answered(hookline, SMUGGLED[name] + smuggled)

    assert_refused(answer, 400, "malformed")
    assert rest == b""
    await assert_nothing_kept(hookline)


@pytest.mark.security("S14")
@pytest.mark.parametrize("apart", [False, True], ids=["with its head", "apart"])
@pytest.mark.parametrize("name", FLOODS)
async def test_what_stands_around_chunks_is_bounded(
    hookline: Instance, name: str, apart: bool
) -> None:
    """S14: extensions and trailers are in no body, so no limit of a flow ends them."""
    head = http(CHUNKED, body=b"")
    flood = FLOODS[name] + b"0\r\n\r\n"
    pieces = [head, flood] if apart else [head + flood]

    answer, rest = await answered(hookline, *pieces)

    assert_refused(answer, 400, "malformed")
    assert rest == b""
    await assert_nothing_kept(hookline)


@pytest.mark.security("S14")
@pytest.mark.parametrize(
    "body",
    [
        b"1;a=b\r\n1\r\n0\r\n\r\n",
        b"1\r\n1\r\n0\r\nX-T: a\r\n\r\n",
        b"1\r\n \r\n" * 20_000 + A_CHUNK,
        (b"400;chunk-signature=" + b"f" * 64 + b"\r\n" + b" " * 1024 + b"\r\n") * 90
        + A_CHUNK,
    ],
    ids=["an extension", "a trailer", "single bytes", "a signature each"],
)
async def test_chunks_as_senders_make_them_are_taken(
    hookline: Instance, body: bytes
) -> None:
    """S14: what is bounded is far from what is in use."""
    answer = await call_raw(hookline.hosted.http, http(CHUNKED, body=body))

    assert answer.status == 200
    assert await hookline.result(answer) == 1


def head_of(size: int) -> bytes:
    """A head of so many bytes, its end included."""
    empty = len(http(b"X-A: ", ONE, body=b""))
    return http(b"X-A: " + b"a" * (size - empty), ONE, body=b"")


@pytest.mark.parametrize("piece", [20_000, 3_000, 1_000])
@pytest.mark.parametrize(("size", "status"), [(16_384, 200), (16_385, 431)])
async def test_a_head_over_16_kib_is_431(
    hookline: Instance, size: int, status: int, piece: int
) -> None:
    """To the byte, in however many pieces it comes."""
    request = head_of(size) + b"1"
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for start in range(0, len(request), piece):
        writer.write(request[start : start + piece])
        await writer.drain()
        await asyncio.sleep(0)

    answer = await read_answer(reader)

    writer.close()
    assert answer.status == status
    if status == 431:
        assert_refused(answer, 431, "head-too-large")


@pytest.mark.parametrize(
    "request_",
    [
        http(*[b"X-A: " + b"a" * 6_000] * 3, ONE),
        http(ONE, line=b"POST /hook/open?" + b"a" * 20_000 + b" HTTP/1.1"),
        http(ONE, line=b"POST /hook/open?" + b"a" * 20_000),
        http(*[b"X-%d: a" % number for number in range(98)], ONE),
        http(*[b"a:"] * 4_000, ONE),
        b"\r\n" * 9_000,
    ],
    ids=["lines", "target", "no end", "101 headers", "tiny headers", "blank lines"],
)
async def test_heads_that_are_too_large_are_431(
    hookline: Instance, request_: bytes
) -> None:
    """In total, or one line, or too many; whole or not."""
    answer, rest = await answered(hookline, request_)

    assert_refused(answer, 431, "head-too-large")
    assert rest == b""


async def test_a_hundred_headers_are_taken(hookline: Instance) -> None:
    """The limit itself is no mistake."""
    lines = [b"X-%d: a" % number for number in range(97)]

    answer = await call_raw(hookline.hosted.http, http(*lines, ONE))

    assert answer.status == 200


@pytest.mark.security("S14")
async def test_ten_declared_gigabytes_are_413_at_once(hookline: Instance) -> None:
    """S14: nothing of them is waited for, and the connection ends."""
    answer, rest = await answered(
        hookline, http(b"Content-Length: 10000000000", body=b"{}")
    )

    assert_refused(answer, 413, "too-large")
    assert rest == b""


@pytest.mark.security("S14")
@pytest.mark.parametrize(("size", "status"), [(99_999, 200), (100_000, 200)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_the_limit_is_taken(
    hookline: Instance, size: int, status: int, chunked: bool
) -> None:
    """S14: declared or not."""
    body = b" " * (size - 1) + b"1"
    if chunked:
        request = http(CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
    else:
        request = http(b"Content-Length: %d" % size, body=body)

    answer = await call_raw(hookline.hosted.http, request)

    assert answer.status == status


@pytest.mark.security("S14")
async def test_a_chunked_body_without_an_end_is_413_at_the_limit(
    hookline: Instance,
) -> None:
    """S14: as long as it goes on coming, and no longer."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(http(CHUNKED, body=b""))
    sent = 0

    async def send() -> None:
        nonlocal sent
        while not reader.at_eof():
            writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
            await writer.drain()
            sent += 1024

    sending = asyncio.ensure_future(send())
    answer = await read_answer(reader)
    await asyncio.wait([sending], timeout=30)
    writer.close()

    assert_refused(answer, 413, "too-large")
    assert sending.done()
    sending.exception()  # it may have broken off, or seen the end
    assert sent < 100_000_000  # what is read and dropped, and what the sockets hold


@pytest.mark.security("S14")
async def test_a_sender_of_much_too_much_gets_its_answer(hookline: Instance) -> None:
    """S14: even if it reads only when it has sent all of it, and not a broken pipe."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    size = 20_000_000

    writer.write(http(b"Content-Length: %d" % size, body=b" " * size))
    await writer.drain()
    answer = await read_answer(reader)

    writer.close()
    assert_refused(answer, 413, "too-large")


@pytest.mark.security("S26")
async def test_two_authorizations_are_400(hookline: Instance) -> None:
    """S26: which one was checked would be anyone's guess."""
    twice = http(b"Authorization: a", b"authorization: b", ONE)

    answer, rest = await answered(hookline, twice)

    assert_refused(answer, 400, "malformed")
    assert rest == b""


@pytest.mark.parametrize(
    "request_",
    [
        http(ONE),
        http(ONE, line=LINE[:-1] + b"0"),
        http(ONE, line=LINE[:-1] + b"0", first=[HOST, TYPE, b"Connection: keep-alive"]),
        http(ONE, line=LINE[:-3] + b"2.0"),
        http(ONE, line=LINE[:-3] + b"0.9"),
        http(ONE, ONE),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 9_000,
    ],
)
async def test_answers_say_what_they_are_and_not_who_gives_them(
    hookline: Instance, request_: bytes
) -> None:
    """HTTP/1.1, whatever was asked in; no versions; nothing for browsers to guess."""
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_)

    status_line = await reader.readline()
    head = (await reader.readuntil(b"\r\n\r\n")).lower()

    writer.close()
    assert status_line.startswith(b"HTTP/1.1 ")
    assert b"server:" not in head
    assert head.count(b"x-content-type-options: nosniff\r\n") == 1
    stays = status_line.startswith(b"HTTP/1.1 200") and b"HTTP/1.0" not in request_
    assert (b"connection: close" not in head) is (stays or b"keep-alive" in request_)


async def test_a_broken_request_behind_good_ones_is_answered_in_its_turn(
    hookline: Instance,
) -> None:
    """Those before it are kept; it ends the connection."""
    good = request_bytes("POST", "/hook/open", [JSON], b"1")
    host, _, port = hookline.hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(good)
    first = await read_answer(reader)
    writer.write(http(ONE, ONE))

    second = await read_answer(reader)
    rest = await reader.read()

    writer.close()
    assert (first.status, second.status, rest) == (200, 400, b"")
    await until(lambda: len(hookline.ends.order) == 1)
