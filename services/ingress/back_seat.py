"""Beside stop 1: refused senders take the back seat.

Who sends wrong credentials as fast as it can is answered as fast as the machine can, and
would take it from all others: a refusal waits for no disk. So, in each turn of the loop,
no more than a few refusals are answered while anybody waits for a verdict; those that
wait hold their connection, and what has been accepted meanwhile is answered before them.
There is no timer: the next turn comes as soon as the loop has done what is there.
"""

import asyncio
from collections import deque
from typing import Final

from hookline.v1 import event_pb2

A_TURN: Final = 4
REASONS: Final = frozenset(
    {event_pb2.REASON_UNAUTHENTICATED, event_pb2.REASON_TOO_MANY_REQUESTS}
)


class BackSeat:
    """The refusals of one process that are about to be answered."""

    def __init__(self, a_turn: int = A_TURN) -> None:
        self._a_turn = a_turn
        self._room = a_turn
        self._turning = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Requests without a verdict; most refusals have theirs at once.
        self.undecided = 0

    async def wait(self, outcome: event_pb2.Outcome) -> None:
        """Return when a verdict may be answered; at once where it is no such refusal."""
        if not self.undecided or outcome.rejected.reason not in REASONS:
            return
        loop = asyncio.get_running_loop()
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        if self._room and not self._waiting:
            self._room -= 1
            return
        waiting = loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        room = self._a_turn
        while room and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                room -= 1
        self._turning = room < self._a_turn
        self._room = room
        if self._turning:
            loop.call_soon(self._turn, loop)
