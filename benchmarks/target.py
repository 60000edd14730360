"""What a flow's HTTP step calls: answers at once, or as a benchmark wants it to.

As a process of its own it costs as little as it can: python -m benchmarks.target PORT.
"""

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

ANSWER = (
    b"HTTP/1.1 %d .\r\ncontent-type: application/json\r\n"
    b'content-length: 12\r\n\r\n{"ok": true}'
)
ANSWERS = {status: ANSWER % status for status in (200, 503)}
LENGTH = b"content-length: "
START_S = 10.0
# Called with a status, now or later, once a request.
Reply = Callable[[int], None]
Decide = Callable[[str, Reply], None]


class Answering(asyncio.Protocol):
    """One connection: each request that is there whole is decided on by its path."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # it is TCP

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        while (end := _end_of_request(received)) is not None:
            path = received.split(b" ", 2)[1].decode()
            received = received[end:]
            self._decide(path, self._reply)
        self._received = received

    def _reply(self, status: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWERS[status])


def _end_of_request(received: bytes) -> int | None:
    """Where the first request ends; None while it is not all there."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    at = head.find(LENGTH)
    size = int(head[at + len(LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
    return end + 4 + size if end + 4 + size <= len(received) else None


@contextmanager
def answering(decide: Decide) -> Iterator[str]:
    """Answer in a thread of this process; gives the address. `decide` runs in there."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    started = threading.Event()
    loop = uvloop.new_event_loop()

    async def listen() -> None:
        await loop.create_server(lambda: Answering(decide), sock=listener)
        started.set()

    def run() -> None:
        loop.run_until_complete(listen())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not started.wait(START_S):
        sys.exit("the server that steps call has not started")
    try:
        yield f"{host}:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_S)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()

    def decide(_path: str, reply: Reply) -> None:
        reply(200)

    server = await loop.create_server(lambda: Answering(decide), "127.0.0.1", port)
    print("started", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(serve(int(sys.argv[1])))
