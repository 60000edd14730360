"""A webhook caller of the tests: HTTP/1.1 by hand, so that bytes go out as written."""

import asyncio
from collections.abc import Sequence
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
