"""Beside stop 1: refused senders take the back seat.

Who sends wrong credentials as fast as it can is answered as fast as the machine can, and
would take it from all others: a refusal waits for no disk. So refusals are answered
together, in the next turn of the loop; and while others are accepted, so few in a turn that
what has been accepted goes first. Those that wait hold their connection, nothing else.
There is no timer: the next turn comes as soon as the loop has done what is there.
"""

import asyncio
import math
import time
from collections import deque
from typing import Final

from hookline.v1 import event_pb2

A_TURN: Final = 1
# Nobody was accepted for so long: there is nobody to make way for.
QUIET_S: Final = 0.1
REASONS: Final = frozenset(
    {event_pb2.REASON_UNAUTHENTICATED, event_pb2.REASON_TOO_MANY_REQUESTS}
)


class BackSeat:
    """The refusals of one process that are about to be answered."""

    def __init__(self, a_turn: int = A_TURN) -> None:
        self._a_turn = a_turn
        self._turning = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._accepted_at = -math.inf

    async def wait(self, outcome: event_pb2.Outcome) -> None:
        """Return when a verdict may be answered; at once where it is no such refusal."""
        if not outcome.HasField("rejected"):
            self._accepted_at = time.monotonic()
            return
        if outcome.rejected.reason not in REASONS:
            return
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        self._waiting.append(waiting)
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        await waiting

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        alone = time.monotonic() - self._accepted_at > QUIET_S
        room = len(self._waiting) if alone else self._a_turn
        while room and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # its sender may have left
                waiting.set_result(None)
                room -= 1
        self._turning = bool(self._waiting)
        if self._turning:
            loop.call_soon(self._turn, loop)
