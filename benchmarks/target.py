"""What a flow's HTTP step calls: answers at once, and costs as little as it can."""

import asyncio
import sys
from typing import cast

import uvloop

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b'content-length: 12\r\n\r\n{"ok": true}'
)
LENGTH = b"content-length: "


class Answering(asyncio.Protocol):
    """One connection: an answer for each request that is there whole."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # it is TCP

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        while (end := _end_of_request(received)) is not None:
            received = received[end:]
            self._transport.write(ANSWER)
        self._received = received


def _end_of_request(received: bytes) -> int | None:
    """Where the first request ends; None while it is not all there."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    at = head.find(LENGTH)
    size = int(head[at + len(LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
    return end + 4 + size if end + 4 + size <= len(received) else None


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", port)
    print("started", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(serve(int(sys.argv[1])))
