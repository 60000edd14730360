"""Beside stop 1: refused senders take the back seat.

Who sends wrong credentials as fast as it can is answered as fast as the machine can, and
would take it from all others: a refusal waits for no disk. So while others are accepted,
one refusal is answered for every few of them, and none waits for longer than a moment; it
holds its connection meanwhile, nothing else. Where nobody is accepted refusals are answered
together, in the next turn of the loop.
"""

import asyncio
import math
import time
from collections import deque
from typing import Final

from hookline.v1 import event_pb2

# Accepted for one that is refused.
FOR_ONE: Final = 4
# The longest that a refusal waits, and for how long one that was accepted counts.
MOMENT_S: Final = 0.05
REASONS: Final = frozenset(
    {event_pb2.REASON_UNAUTHENTICATED, event_pb2.REASON_TOO_MANY_REQUESTS}
)


class BackSeat:
    """The refusals of one process that are about to be answered."""

    def __init__(self, moment_s: float = MOMENT_S) -> None:
        self._moment_s = moment_s
        self._accepted_at = -math.inf
        self._accepted = 0
        self._scheduled = False
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    def make_way(self) -> None:
        """Somebody was accepted; after some of them one refusal is answered."""
        self._accepted_at = time.monotonic()
        if self._waiting:
            self._accepted += 1
            if self._accepted >= FOR_ONE:
                self._accepted = 0
                self._let_go()

    async def wait(self, reason: int) -> None:
        """Return when a refusal may be answered; at once where it is of another kind."""
        if reason not in REASONS:
            return
        now = time.monotonic()
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append((now, waiting))
        if not self._scheduled:
            alone = now - self._accepted_at > self._moment_s
            self._schedule(0.0 if alone else self._moment_s)
        await waiting

    def _schedule(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._scheduled = True
        if seconds:
            loop.call_later(seconds, self._let_go_due)
        else:
            loop.call_soon(self._let_go_due)

    def _let_go_due(self) -> None:
        """Answer those that have waited for a moment, or all where nobody is accepted."""
        self._scheduled = False
        since = time.monotonic() - self._moment_s
        if self._accepted_at < since:
            since = math.inf
        while self._waiting and self._waiting[0][0] <= since:
            self._let_go()
        if self._waiting:
            self._schedule(max(0.001, self._waiting[0][0] - since))

    def _let_go(self) -> None:
        _, waiting = self._waiting.popleft()
        if not waiting.done():  # its sender may have left
            waiting.set_result(None)
