"""How many bytes `hookline up` holds of requests at most, and whom that shuts out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.caller import Answer, read_answer, request_bytes
from tests.instance import JSON, running
from tests.routers import FLOWS, body_of
from tests.waiting import until

SIGNED = """
id: signed
trigger: {webhook: {auth: {type: hmac, secret: '${secret:KEY}'}}}
steps: [{id: keep, use: transform, with: {body: "=1"}}]
"""
MIB = 1024 * 1024
ENVIRONMENT = {
    "HOOKLINE_SECRET_KEY": "the key",
    "HOOKLINE_ROUTER__MOST_UPLOAD_BYTES": str(16 * MIB),
}
BINARY = ("Content-Type", "application/octet-stream")
Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(address: str, source: str) -> AsyncIterator[Pipe]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), local_addr=(source, 0)
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send(address: str, source: str, sent: bytes) -> Answer:
    async with connected(address, source) as (reader, writer):
        writer.write(sent)
        return await read_answer(reader)


async def test_bodies_without_a_right_signature_hold_no_more_than_their_share(
    tmp_path: Path,
) -> None:
    """Beyond it they are 503 from the head; small ones and others' are accepted."""
    signature = ("x-eio-signature", "00" * 32)
    size = ("Content-Length", "9000000")
    head = request_bytes("POST", "/hook/signed", [BINARY, signature, size], None)
    small = request_bytes("POST", "/hook/open", [JSON], b"1")
    large = request_bytes("POST", "/hook/open", [JSON], body_of(390_000))
    async with (
        running(tmp_path, *FLOWS, SIGNED, environment=ENVIRONMENT) as hookline,
        AsyncExitStack() as open_ones,
        asyncio.TaskGroup() as tasks,
    ):
        http = hookline.hosted.http
        answering: list[asyncio.Task[Answer]] = []
        for _ in range(100):
            reader, writer = await open_ones.enter_async_context(
                connected(http, "127.0.0.2")
            )
            writer.write(head + b"x" * 250_000)
            answering.append(tasks.create_task(read_answer(reader)))
        # Two are being read, and some wait: those are refused in the end, too.
        await until(lambda: sum(one.done() for one in answering) >= 80)
        of_others = await send(http, "127.0.0.3", large)
        of_its_own = [await send(http, "127.0.0.2", small) for _ in range(10)]
        await until(lambda: sum(one.done() for one in answering) >= 97)
        refused = {one.result().status for one in answering if one.done()}
        for one in answering:
            one.cancel()

    assert of_others.status == 200
    assert {answer.status for answer in of_its_own} == {200}
    assert refused == {503}


async def test_what_waits_for_the_log_is_bounded(tmp_path: Path) -> None:
    """Requests that are here as a whole; when they are answered there is room again."""
    environment = {"HOOKLINE_INGRESS__MOST_BYTES_IN_FLIGHT": "100000"}
    sent = request_bytes("POST", "/hook/open", [JSON], body_of(30_000))
    async with running(tmp_path, *FLOWS, environment=environment) as hookline:
        http = hookline.hosted.http
        many = await asyncio.gather(*(send(http, "127.0.0.1", sent) for _ in range(50)))
        again = await send(http, "127.0.0.1", sent)

    assert {answer.status for answer in many} == {200, 503}
    assert again.status == 200
