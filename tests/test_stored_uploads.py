"""Bodies of every size on their way in, in one process and over gRPC, on every store.

What is accepted arrives byte for byte, in line or in the store; what is refused, broken
off or given up leaves nothing there.
"""

import asyncio
import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from backports import zstd  # noqa: TID251 - packs what bodies unpack

from hookline.body_store import BodyStore, open_body_store
from hookline.v1 import event_pb2
from tests.caller import Answer, request_bytes, upload
from tests.instance import running
from tests.routers import edge, public, routing
from tests.stores import Place, bodies_in, kept
from tests.waiting import until_asked

KIB = 1024
IN_LINE = 256 * KIB
KEY = "the key"
SECRETS = {"HOOKLINE_SECRET_KEY": KEY}
FLOW = """
id: {id}
trigger: {{webhook: {{auth: {auth}, dedupe_window: off}}}}
steps: [{{id: keep, use: transform, with: {{body: "=1"}}}}]
"""
HMAC = "type: hmac, secret: '${secret:KEY}'"
FLOWS = tuple(
    FLOW.format(id=flow_id, auth=f"{{{auth}}}")
    for flow_id, auth in {
        "open": "type: none",
        "signed": HMAC,
        "dated": f"{HMAC}, template: '{{method}}.{{body}}.{{path}}'",
        "twice": f"{HMAC}, template: '{{body}}.{{body}}'",
        "sorted": f"{HMAC}, template: '{{sorted_form}}'",
        "keyed": "type: api_key, value: '${secret:KEY}'",
    }.items()
)
BINARY = ("Content-Type", "application/octet-stream")
JSON = ("Content-Type", "application/json")
SIZES = [
    10,
    *(64 * KIB + more for more in (-1, 0, 1)),
    *(IN_LINE + more for more in (-1, 0, 1)),
    5_000_000,
]


@dataclass(frozen=True, slots=True)
class Way:
    """How a webhook comes to the log: `address` is the public port."""

    address: str
    store: BodyStore
    events: Callable[[], Awaitable[list[event_pb2.Event]]]

    async def send(
        self,
        flow_id: str,
        body: bytes,
        *headers: tuple[str, str],
        sized: bool = True,
        rest: str = "",
    ) -> Answer:
        pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
        size = len(body) if sized else None
        path = f"/hook/{flow_id}{rest}"
        return await upload(self.address, path, headers, pieces, size=size)

    async def body(self) -> bytes:
        """The body of the last event of a flow; there are no other flows' here."""
        *_, event = await self.events()
        if not event.request.HasField("stored_body"):
            return event.request.body
        assert not event.request.body
        pieces = self.store.read(event.request.stored_body)
        return b"".join([piece async for piece in pieces])


@asynccontextmanager
async def one_process(directory: Path, url: str) -> AsyncIterator[Way]:
    environment = {**SECRETS, "HOOKLINE_BODIES__STORE": url}
    async with running(
        directory, *FLOWS, environment=environment, executor=False
    ) as instance:
        log, topic = instance.hosted.log, instance.hosted.topics.events

        async def events() -> list[event_pb2.Event]:
            return [
                event_pb2.Event.FromString(record.value or b"")
                for partition in range(topic.partitions)
                async for batch in log.read(topic, partition, 0, 1_000)
                for record in batch
            ]

        yield Way(instance.hosted.http, open_body_store(url), events)


@asynccontextmanager
async def services(directory: Path, url: str) -> AsyncIterator[Way]:
    async with (
        routing(directory, *FLOWS, bodies=url, environment=SECRETS) as router,
        router.serving() as address,
        edge(address) as client,
        public(client) as http,
    ):

        async def events() -> list[event_pb2.Event]:
            return router.log.appended

        yield Way(http, open_body_store(url), events)


Opening = Callable[[Path, str], AbstractAsyncContextManager[Way]]


@pytest.fixture(params=[one_process, services])
async def way(
    request: pytest.FixtureRequest, tmp_path: Path, place: Place
) -> AsyncIterator[Way]:
    opening: Opening = request.param
    async with opening(tmp_path, place.url) as way:
        yield way


def signature(signed: bytes, key: str = KEY) -> tuple[str, str]:
    return "x-eio-signature", hmac.digest(key.encode(), signed, sha256).hex()


def binary(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def json(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'


def xml(size: int) -> bytes:
    return b"<a>" + b"x" * (size - 7) + b"</a>"


def form(size: int) -> bytes:
    return b"b=2&a=" + b"x" * (size - 6)


KINDS = {
    "octets": ("application/octet-stream", binary),
    "JSON": ("application/json", json),
    "XML": ("text/xml", xml),
    "form": ("application/x-www-form-urlencoded", form),
    "text": ("text/plain", json),
}


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_signed_body_arrives_byte_for_byte(
    way: Way, place: Place, size: int, *, sized: bool
) -> None:
    """Up to 256 KiB it is in the log, beyond in the store; with a wrong key nowhere."""
    for number, (media_type, make) in enumerate(KINDS.values()):
        body = make(size)
        head = ("Content-Type", media_type)
        wrong = signature(body, "another key")
        refused = await way.send("signed", body, head, wrong, sized=sized)
        assert refused.status == 401
        assert len(await place.left()) == number * (size > IN_LINE)

        answer = await way.send("signed", body, head, signature(body), sized=sized)

        assert answer.status == 200, answer
        assert await way.body() == body
        assert len(await place.left()) == (number + 1) * (size > IN_LINE)


@pytest.mark.parametrize("place", ["directory"], indirect=True)
@pytest.mark.parametrize("size", [10, IN_LINE, IN_LINE + 1, 1_000_000])
@pytest.mark.parametrize("flow_id", ["dated", "twice", "sorted"])
async def test_a_template_is_signed_as_far_as_nothing_is_gathered(
    way: Way, place: Place, flow_id: str, size: int
) -> None:
    """With the body in it once at every size; up to 256 KiB more than once, or sorted."""
    body = form(size)
    signed = {
        "dated": b"POST." + body + b"./x",
        "twice": body + b"." + body,
        "sorted": b"a" + b"x" * (size - 6) + b"b2",
    }[flow_id]
    content_type = ("Content-Type", "application/x-www-form-urlencoded")
    wrong = signature(signed + b".")
    refused = await way.send(flow_id, body, content_type, wrong, rest="/x")
    assert (refused.status, await place.left()) == (401, [])

    answer = await way.send(flow_id, body, content_type, signature(signed), rest="/x")

    if size > IN_LINE and flow_id != "dated":
        assert (answer.status, await place.left()) == (401, [])
    else:
        assert answer.status == 200, answer
        assert await way.body() == body


@pytest.mark.parametrize("size", [10, IN_LINE + 10, 1_000_000])
async def test_what_is_wrong_with_a_body_is_told_to_those_who_may_send(
    way: Way, place: Place, size: int
) -> None:
    """The credential is judged before the content, at every size."""
    body = json(size)[:-1]
    stranger = await way.send("signed", body, JSON, signature(body, "another key"))
    untyped = await way.send("signed", body, signature(body, "another key"))
    sender = await way.send("signed", body, JSON, signature(body))
    anyone = await way.send("open", body, JSON)
    without_type = await way.send("open", body)

    assert [stranger.status, untyped.status] == [401, 401]
    assert [sender.status, anyone.status, without_type.status] == [400, 400, 415]
    assert await place.left() == []
    assert await way.events() == []


async def test_a_form_that_breaks_in_the_middle_is_told_to_those_who_may_send(
    way: Way, place: Place
) -> None:
    """What is wrong is seen long before the end; the signature is judged first, though."""
    body = b"--a\r\nno header\r\n\r\n" + binary(1_000_000)
    form = ("Content-Type", "multipart/form-data; boundary=a")
    stranger = await way.send("signed", body, form, signature(body, "another key"))
    sender = await way.send("signed", body, form, signature(body))
    anyone = await way.send("open", body, form)

    assert [stranger.status, sender.status, anyone.status] == [401, 400, 400]
    assert await place.left() == []


@pytest.mark.parametrize("flow_id", ["signed", "keyed", "nowhere"])
async def test_a_head_that_cannot_pass_is_refused_before_its_body(
    way: Way, place: Place, flow_id: str
) -> None:
    """Nothing of it is waited for, let alone written."""
    unsent: Iterator[bytes] = iter(())
    path = f"/hook/{flow_id}"
    answer = await upload(way.address, path, [BINARY], unsent, size=5_000_000)

    assert answer.status == (404 if flow_id == "nowhere" else 401)
    assert await place.left() == []


@pytest.mark.parametrize("sent", [100_000, 300_000, 3_000_000])
async def test_a_sender_that_goes_in_mid_body_leaves_nothing(
    way: Way, place: Place, sent: int
) -> None:
    """Whether its body is gathered still, or on its way into the store."""
    head = [BINARY, ("Content-Length", "9000000")]
    host, _, port = way.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_bytes("POST", "/hook/open", head, None) + binary(sent))
    await writer.drain()
    writer.close()
    # What comes later has passed all that came before: the router has seen the end.
    assert (await way.send("open", b"after", BINARY)).status == 200

    async def gone() -> bool:
        return await place.left() == []

    await until_asked(gone)
    assert await way.body() == b"after"


async def test_a_body_that_crosses_the_limit_is_refused_there(
    way: Way, place: Place
) -> None:
    """The rest of it is not waited for: most has not been sent when the answer comes."""
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1_000_000_000:
            sent += 50_000
            yield binary(50_000)

    answer = await upload(way.address, "/hook/open", [BINARY], pieces())

    assert answer.status == 413
    assert sent < 100_000_000
    assert await place.left() == []


async def test_nothing_is_gathered_for_who_may_not_send(tmp_path: Path) -> None:
    """A body that is parsed whole is in memory once its sender is known, not before."""
    url = bodies_in(tmp_path).as_uri()
    body = json(9_000_000)
    async with (
        routing(tmp_path, *FLOWS, bodies=url, environment=SECRETS) as router,
        router.serving(most_upload_bytes=8_000_000) as address,
        edge(address) as client,
        public(client) as http,
    ):
        strange, known = [
            await upload(http, "/hook/signed", [JSON, signed], [body], size=len(body))
            for signed in (signature(body, "another key"), signature(body))
        ]

    assert strange.status == 401
    # There is room for what is on its way, and none for the whole.
    assert known.status == 503
    assert not kept(bodies_in(tmp_path))


async def test_nothing_is_decoded_for_who_may_not_send(tmp_path: Path) -> None:
    """A coding's window is in memory, and counted, once its sender is known."""
    url = bodies_in(tmp_path).as_uri()
    options = {int(zstd.CompressionParameter.window_log): 23}
    packing = zstd.ZstdCompressor(options=options)
    body = packing.compress(os.urandom(IN_LINE * 2)) + packing.flush()
    head = [BINARY, ("Content-Encoding", "zstd")]
    async with (
        routing(tmp_path, *FLOWS, bodies=url, environment=SECRETS) as router,
        router.serving(most_upload_bytes=8_000_000) as address,
        edge(address) as client,
        public(client) as http,
    ):
        strange, known = [
            await upload(http, "/hook/signed", [*head, signed], [body], size=len(body))
            for signed in (signature(body, "another key"), signature(body))
        ]

    assert strange.status == 401
    # There is room for what is on its way, and none for the window.
    assert known.status == 503
    assert not kept(bodies_in(tmp_path))
