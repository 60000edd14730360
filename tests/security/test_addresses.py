"""Whom a request comes from, how many connections an address gets, and what is logged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.cli.hosting import Hosted
from hookline.sources import source_of
from hookline.telemetry import printable
from services.ingress.forwarded import senders_in
from services.ingress.senders import (
    FORWARDED,
    FORWARDED_FOR,
    NOBODY,
    Senders,
)
from tests.caller import Answer, Pairs, call, read_answer, request_bytes
from tests.instance import JSON, Instance, running
from tests.processes import up
from tests.waiting import until

OPEN = """
id: open
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
TRUSTING = {"HOOKLINE_INGRESS__TRUSTED_PROXIES": "127.0.0.7/32, 10.0.0.0/8"}
GOOD = request_bytes("POST", "/hook/open", [JSON], b"1")


# A body that pauses is waited for, for longer than any test takes.
PATIENT = {"HOOKLINE_INGRESS__HEAD_TIMEOUT_S": "600"}
LATE_BODIES = {"HOOKLINE_INGRESS__BODY_TIMEOUT_S": "600"}


class Caller:
    """A connection from an address of its own."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, request: bytes = GOOD) -> Answer:
        """Send a request and read its answer."""
        self.writer.write(request)
        return await read_answer(self.reader)

    async def closed(self) -> bool:
        """Whether the other end has closed it, without a word."""
        try:
            async with asyncio.timeout(10):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def connected(hosted: Hosted, source: str = "127.0.0.1") -> AsyncIterator[Caller]:
    host, _, port = hosted.http.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), local_addr=(source, 0)
    )
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


async def remote(instance: Instance, source: str, headers: Pairs) -> str:
    """Whom a request is said to come from, in the log."""
    request = request_bytes("POST", "/hook/open", [JSON, *headers], b"1")
    async with connected(instance.hosted, source) as caller:
        answer = await caller.send(request)
    return (await instance.event(answer)).request.remote


@pytest.mark.security("S26")
@pytest.mark.parametrize(
    ("source", "headers", "sender"),
    [
        ("127.0.0.1", [("X-Forwarded-For", "8.8.8.8")], "127.0.0.1"),
        ("127.0.0.1", [("Forwarded", "for=8.8.8.8")], "127.0.0.1"),
        ("127.0.0.1", [("X-Real-IP", "8.8.8.8")], "127.0.0.1"),
        ("127.0.0.7", [("X-Forwarded-For", "8.8.8.8")], "8.8.8.8"),
        ("127.0.0.7", [("X-Forwarded-For", "1.1.1.1, 8.8.8.8, 10.2.3.4")], "8.8.8.8"),
        ("127.0.0.7", [("Forwarded", "for=8.8.8.8")], "127.0.0.7"),
        ("127.0.0.7", [], "127.0.0.7"),
    ],
)
async def test_only_trusted_proxies_say_whom_a_request_comes_from(
    tmp_path: Path, source: str, headers: Pairs, sender: str
) -> None:
    """S26: from anyone else the same headers say nothing."""
    async with running(tmp_path, OPEN, environment=TRUSTING) as instance:
        assert await remote(instance, source, headers) == sender


@pytest.mark.security("S26")
@pytest.mark.parametrize(
    ("header", "lines", "sender"),
    [
        (FORWARDED_FOR, ["1.1.1.1, 8.8.8.8"], "8.8.8.8"),
        (FORWARDED_FOR, ["1.1.1.1", "8.8.8.8, 10.0.0.1"], "8.8.8.8"),
        (FORWARDED_FOR, ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (FORWARDED_FOR, ["8.8.8.8, unknown, 10.0.0.2"], "10.0.0.2"),
        (FORWARDED_FOR, ["8.8.8.8,"], "10.9.9.9"),
        (FORWARDED_FOR, ["8.8.8.8:1234"], "8.8.8.8"),
        (FORWARDED_FOR, ["::ffff:8.8.8.8"], "8.8.8.8"),
        (FORWARDED_FOR, ["[2001:DB8::0:1]:1234"], "2001:db8::1"),
        (FORWARDED_FOR, ["2001:db8::1"], "2001:db8::1"),
        (FORWARDED_FOR, ["for=8.8.8.8"], "10.9.9.9"),
        (FORWARDED, ['for="[2001:db8::1]:4711";proto=https'], "2001:db8::1"),
        (FORWARDED, ["for=1.1.1.1, by=x;For=8.8.8.8, for=10.0.0.1"], "8.8.8.8"),
        (FORWARDED, ["for=1.1.1.1", "For=8.8.8.8 ; by=x , for=10.0.0.1"], "8.8.8.8"),
        (FORWARDED, ["for=8.8.8.8:80;proto=https"], "8.8.8.8"),
        (FORWARDED, ['for="8.8\\.8.8"'], "8.8.8.8"),
        (FORWARDED, ['for=8.8.8.8;host="a,for=10.0.0.1"'], "8.8.8.8"),
        (FORWARDED, ['host="a;for=10.0.0.1";for=8.8.8.8'], "8.8.8.8"),
        (FORWARDED, ['host="a\\",for=10.0.0.1";for=8.8.8.8'], "8.8.8.8"),
        (FORWARDED, ['for="10.0.0.1', "for=8.8.8.8"], "8.8.8.8"),
        # Who has written what of these is anyone's guess.
        (FORWARDED, ['for="10.0.0.1, for=8.8.8.8'], ""),
        (FORWARDED, ['for="x, for=8.8.4.4, for=8.8.8.8'], ""),
        (FORWARDED, ["for=8.8.8.8;for=10.0.0.1"], ""),
        (FORWARDED, ["for=10.0.0.1;for=8.8.8.8"], ""),
        (FORWARDED, ["for = 8.8.8.8"], ""),
        (FORWARDED, ["for=8.8.8.8, for=_hidden"], "10.9.9.9"),
        (FORWARDED, ["proto=https"], "10.9.9.9"),
    ],
)
def test_a_sender_is_the_last_that_is_not_trusted(
    header: bytes, lines: Sequence[str], sender: str
) -> None:
    """S26: what a sender has written itself stands left of it, and does not count."""
    senders = Senders([ip_network("10.0.0.0/8")], header)
    headers = [(header.title(), line.encode()) for line in lines]

    assert senders.named_by("10.9.9.9", headers) == sender


TOKEN = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", fullmatch=True)
ADDRESS = st.ip_addresses(v=4).map(str)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126)) | ADDRESS.map(
    lambda address: f'",for={address};for={address},"'
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


OTHERS = st.lists(
    st.tuples(TOKEN.filter(lambda name: name.lower() != "for"), TEXT), max_size=3
)


@pytest.mark.security("S26")
@given(st.text(), ADDRESS, OTHERS, OTHERS)
def test_a_sender_cannot_choose_its_address_through_what_a_proxy_repeats(
    own: str, address: str, before: Pairs, behind: Pairs
) -> None:
    """S26: of the line that a proxy writes, whatever is quoted in it and stands above."""
    pairs = [f"{name}={quoted(text)}" for name, text in before]
    pairs.append(f"for={address}")
    pairs += [f"{name}={quoted(text)}" for name, text in behind]
    lines = [own.encode(), ";".join(pairs).encode()]
    senders = Senders([], FORWARDED)

    assert (
        senders.named_by("10.9.9.9", [(FORWARDED, line) for line in lines]) == address
    )


@pytest.mark.security("S26")
@given(st.text(st.sampled_from('for=10.9;," \\\t')), ADDRESS)
def test_a_line_that_a_sender_has_begun_names_the_proxys_word_or_nobody(
    begun: str, address: str
) -> None:
    """S26: where a proxy joins its element to what has come, quotes or not."""
    senders = Senders([], FORWARDED)
    line = f"{begun}, for={address}".encode()

    assert senders.named_by("10.9.9.9", [(FORWARDED, line)]) in (address, NOBODY)


@pytest.mark.security("S26")
@pytest.mark.parametrize("piece", [" ", "a", '"', "\\", ";", ",", "for=", '=" '])
def test_a_long_line_that_does_not_parse_names_nobody(piece: str) -> None:
    """S26: and is read once: tried in many ways, it would hold up all tests."""
    line = piece * (16_000 // len(piece)) + "\x01"

    assert senders_in(line) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("8.8.8.8", "8.8.8.9", False),
    ],
)
def test_ipv6_counts_by_its_network(one: str, other: str, *, same: bool) -> None:
    """Whoever has one address of 64 bits has them all."""
    assert (source_of(one) == source_of(other)) is same


async def test_an_address_gets_its_share_of_connections(tmp_path: Path) -> None:
    """One more is closed; others get in, and so does it when one has ended."""
    environment = {
        **TRUSTING,
        "HOOKLINE_INGRESS__MOST_CONNECTIONS_PER_ADDRESS": "3",
    }
    async with (
        running(tmp_path, OPEN, environment=environment) as instance,
        AsyncExitStack() as stack,
    ):

        async def connect(source: str) -> Caller:
            return await stack.enter_async_context(connected(instance.hosted, source))

        held = [await connect("127.0.0.2") for _ in range(3)]
        assert {(await one.send()).status for one in held} == {200}
        assert await (await connect("127.0.0.2")).closed()
        assert (await (await connect("127.0.0.3")).send()).status == 200
        proxied = [await connect("127.0.0.7") for _ in range(5)]
        assert {(await one.send()).status for one in proxied} == {200}

        held[0].writer.close()

        await until_answered(instance.hosted, "127.0.0.2")


async def until_answered(hosted: Hosted, source: str) -> None:
    """Return when an address gets in."""
    async with asyncio.timeout(10):
        while True:
            async with connected(hosted, source) as caller:
                try:
                    await caller.send()
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue
                return


async def test_idle_connections_make_room_for_new_ones(tmp_path: Path) -> None:
    """With all places taken whoever has a request is served, and stays."""
    environment = {"HOOKLINE_INGRESS__MOST_CONNECTIONS": "8", **PATIENT}
    async with (
        running(tmp_path, OPEN, environment=environment) as instance,
        AsyncExitStack() as stack,
    ):

        async def connect(number: int) -> Caller:
            source = f"127.0.0.{number}"
            return await stack.enter_async_context(connected(instance.hosted, source))

        busy = await connect(2)
        busy.writer.write(request_bytes("POST", "/hook/open", [JSON], b"22")[:-1])
        idle = [await connect(number) for number in range(3, 10)]
        assert (await idle[0].send()).status == 200

        late = [await connect(number) for number in range(10, 15)]

        assert {(await one.send()).status for one in late} == {200}
        busy.writer.write(b"2")
        assert (await read_answer(busy.reader)).status == 200
        assert await idle[1].closed()


async def test_connections_that_all_have_requests_keep_their_places(
    tmp_path: Path,
) -> None:
    """A newcomer is closed where nobody is idle."""
    environment = {"HOOKLINE_INGRESS__MOST_CONNECTIONS": "4", **PATIENT}
    async with (
        running(tmp_path, OPEN, environment=environment) as instance,
        AsyncExitStack() as stack,
    ):
        busy = []
        for number in range(2, 6):
            caller = await stack.enter_async_context(
                connected(instance.hosted, f"127.0.0.{number}")
            )
            caller.writer.write(GOOD[:-1])
            busy.append(caller)
        async with connected(instance.hosted, "127.0.0.9") as late:
            assert await late.closed()
        for caller in busy:
            caller.writer.write(b"1")

        assert {(await read_answer(one.reader)).status for one in busy} == {200}


@pytest.mark.security("S13")
@pytest.mark.parametrize(
    "start",
    [
        request_bytes("POST", "/hook/open", [JSON, ("Content-Length", "99")], None),
        request_bytes("POST", "/hook/open", [JSON], b"1" * 300_000)[:-1],
        request_bytes(
            "POST", "/hook/open", [JSON, ("Transfer-Encoding", "chunked")], None
        )
        + b"5\r\n1",
    ],
    ids=["nothing of it", "much of it", "chunks"],
)
async def test_bodies_that_do_not_come_keep_no_places(
    tmp_path: Path, start: bytes
) -> None:
    """S13: half a body each, and two addresses have them all; a third one gets in."""
    environment = {
        "HOOKLINE_INGRESS__MOST_CONNECTIONS": "4",
        "HOOKLINE_INGRESS__HEAD_TIMEOUT_S": "1",
        **LATE_BODIES,
    }
    async with (
        running(tmp_path, OPEN, environment=environment) as instance,
        AsyncExitStack() as stack,
    ):
        held = []
        for number in range(4):
            caller = await stack.enter_async_context(
                connected(instance.hosted, f"127.0.0.{2 + number % 2}")
            )
            caller.writer.write(start)
            held.append(caller)

        await until_answered(instance.hosted, "127.0.0.9")

        assert await held[0].closed()


BREAKERS = (
    'a"}\r{"event":"forged"}',
    "\x1b[2J\x1b[31mred",
    "\x9b31m",
    "\u2028\u0085forged",
    '","event":"forged","a":"',
)


@pytest.mark.security("S36")
async def test_what_is_sent_writes_no_lines_of_its_own(tmp_path: Path) -> None:
    """S36: each line of the process is one JSON object that it has meant to write."""
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "open.yaml").write_text(OPEN)
    errors = tmp_path / "stderr"
    wrapper = ("sh", "-c", f'exec "$@" 2>{errors}', "sh")
    async with up(
        tmp_path / "data", "--flows", str(flows), wrapper=wrapper
    ) as instance:
        for text in BREAKERS:
            sent = text.encode("utf-8").decode("latin-1")
            headers = [("X-Request-Id", sent.replace("\r", " ")), ("X-A", "b"), JSON]
            for path in (f"/hook/{sent}", f"/hook/open/{sent}?{sent}", f"/{sent}"):
                quoted = path.replace(" ", "%20").replace("\r", "%0d")
                await call(instance.http, "POST", quoted, headers, b'{"a": ')
                await call(instance.http, "PO" + sent[:1], quoted, headers, b"{")
            body = b'{"' + text.encode() + b'": \x1b'
            await call(instance.http, "POST", "/hook/open", [JSON], body)
            typed = [("Content-Type", "application/xml")]
            await call(instance.http, "POST", "/hook/open", typed, b"<" + body)
        await until(lambda: "event.rejected" in errors.read_text())

    lines = errors.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) >= len(BREAKERS)
    for line in lines:
        assert not set(line) & {*range(32), 127}
        assert msgspec.json.decode(line).get("event") != "forged"


@pytest.mark.security("S36")
@pytest.mark.parametrize("text", BREAKERS)
def test_what_is_sent_moves_no_cursor(text: str) -> None:
    """S36: on a terminal, control characters are escaped."""
    line = printable(None, "info", {"event": "event.rejected", "cause": text})

    assert line["cause"].isprintable()
    assert line["event"] == "event.rejected"


@pytest.mark.security("S37")
async def test_metrics_do_not_grow_with_what_is_asked_for(tmp_path: Path) -> None:
    """S37: random flows and paths, methods and addresses add no series."""
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "open.yaml").write_text(OPEN)

    async def series(address: str) -> set[str]:
        text = (await call(address, "GET", "/metrics")).body.decode()
        return {line.rpartition(" ")[0] for line in text.splitlines()}

    async def ask(address: str, start: int) -> None:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        places = ("hook/flow-", "hook/open/", "")
        for number in range(start, start + 20):
            for place in places:
                path = f"/{place}{number}"
                writer.write(request_bytes("PUT", path, [JSON], b"1"))
        for _ in range(20 * len(places)):
            await read_answer(reader)
        writer.close()

    async with up(tmp_path / "data", "--flows", str(flows)) as instance:
        seen = []
        for start in (0, 1_000, 2_000):
            asking = [ask(instance.http, start + 20 * one) for one in range(50)]
            await asyncio.gather(*asking)
            seen.append(await series(instance.admin))

    assert seen[0] == seen[1] == seen[2]
