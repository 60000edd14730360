"""A webhook caller of the tests: HTTP/1.1 by hand, so that bytes go out as written."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets: header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def request_bytes(method: str, path: str, headers: Pairs, body: bytes | None) -> bytes:
    """A whole request; Content-Length is added where there is a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: hooks.example"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


async def call(
    address: str,
    method: str,
    path: str,
    headers: Pairs = (),
    body: bytes | None = None,
) -> Answer:
    """Send one request on a connection of its own."""
    return await call_raw(address, request_bytes(method, path, headers, body))


async def call_raw(address: str, request: bytes) -> Answer:
    """Send these bytes and read one answer."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        await writer.drain()
        return await read_answer(reader, head_only=request.startswith(b"HEAD"))
    finally:
        writer.close()


async def upload(
    address: str,
    path: str,
    headers: Pairs,
    pieces: Iterable[bytes],
    *,
    size: int | None = None,
) -> Answer:
    """Send a body in pieces, chunked if no size is declared, until the answer comes."""
    framing = ("Transfer-Encoding", "chunked")
    if size is not None:
        framing = ("Content-Length", str(size))
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(read_answer(reader))
        try:
            writer.write(request_bytes("POST", path, [*headers, framing], None))
            for piece in pieces:
                if answering.done():
                    break
                writer.write(piece if size is not None else chunk(piece))
                await writer.drain()
            if size is None and not answering.done():
                writer.write(b"0\r\n\r\n")
            return await answering
        finally:
            writer.close()


def chunk(piece: bytes) -> bytes:
    """A piece as a chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def read_answer(
    reader: asyncio.StreamReader, *, head_only: bool = False
) -> Answer:
    """Read one answer whose size is declared."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.strip().split("\r\n")
    pairs = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    size = 0 if head_only else int(headers.get("content-length", "0"))
    body = await reader.readexactly(size)
    return Answer(int(status_line.split()[1]), headers, body)
