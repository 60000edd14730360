"""Stop 2, the router's half of the way back: outcomes to one edge.

Whatever is ready while a frame is being written goes out in the next one; there is no
timer, and nobody waits for the slowest.
"""

import asyncio
from collections import deque
from typing import Any, Final

import grpc

from hookline.v1 import event_pb2, router_pb2

# As many as the edge puts into a frame, for the same reason: both ends work at once.
MOST_OUTCOMES: Final = 64
MOST_FRAME_BYTES: Final = 1024 * 1024
Context = grpc.aio.ServicerContext[Any, Any]


class Answers:
    """The outcomes of one stream. After `close` they are dropped: nobody is there."""

    def __init__(self) -> None:
        self._frames: deque[router_pb2.ReceiveResponse] = deque()
        self._room = 0
        self._bytes = 0
        self._news = asyncio.Event()
        self._expected = 0
        self._ending = False
        self._closed = False

    def expect(self, count: int) -> None:
        """So many requests more will be answered."""
        self._expected += count

    def put(self, number: int, outcome: event_pb2.Outcome) -> None:
        """Answer a request that was expected."""
        self._expected -= 1
        if self._closed:
            return
        size = outcome.ByteSize()
        if not self._room or self._bytes + size > MOST_FRAME_BYTES:
            self._frames.append(router_pb2.ReceiveResponse())
            self._room, self._bytes = MOST_OUTCOMES, 0
        self._room -= 1
        self._bytes += size
        self._frames[-1].outcomes.add(number=number).outcome.CopyFrom(outcome)
        self._news.set()

    def end(self) -> None:
        """Let `write` return once everything expected is written."""
        self._ending = True
        self._news.set()

    def close(self) -> None:
        """Drop what is not written, and what comes."""
        self._closed = True
        self._frames.clear()

    async def write(self, context: Context) -> None:
        """Write until the end, one frame after the other."""
        while self._frames or self._expected or not self._ending:
            if not self._frames:
                self._news.clear()
                await self._news.wait()
                continue
            frame = self._frames.popleft()
            if not self._frames:
                self._room = 0
            try:
                await context.write(frame)
            except grpc.aio.InternalError:
                return  # the edge has gone; the reader is told as well
