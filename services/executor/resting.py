"""Stop 6, rests: what waits until a time, or until somebody decides, and holds nothing."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from services.executor.lane import Lane, Rest

LONGEST_TIMER_S: Final = 3600.0
# What is parked is read back before it is due: a read can take longer than anybody waits.
AHEAD_S: Final = 2.0
SOON_S: Final = 60.0
MICROSECONDS: Final = 1_000_000


class Rests:
    """The rests of lanes; `go_on` is called when one is over, `near` a little before."""

    def __init__(
        self,
        go_on: Callable[[Lane], None],
        near: Callable[[Lane], None],
        park_after_s: float,
    ) -> None:
        self._go_on = go_on
        self._near = near
        self._park_after_s = park_after_s
        self._timers: dict[Lane, asyncio.TimerHandle] = {}

    def begin(self, lane: Lane, rest: Rest) -> bool:
        """A lane's first event rests; tells whether for long, all its rests together."""
        now_s = time.time()
        if lane.resting_since_s is None:
            lane.resting_since_s = now_s
        lane.rest = rest
        lane.near = False
        if rest.due_at_us is None:
            return True
        due_s = rest.due_at_us / MICROSECONDS
        self._set_timer(lane, due_s - now_s)
        return due_s > lane.resting_since_s + self._park_after_s

    def is_soon(self, rest: Rest) -> bool:
        """Whether a rest is so short that its event is not worth another read."""
        due_at_us = rest.due_at_us
        return due_at_us is not None and due_at_us / MICROSECONDS < time.time() + SOON_S

    def delay(self, lane: Lane, seconds: float) -> None:
        """Leave a lane alone for a while."""
        lane.rest = Rest(int((time.time() + seconds) * MICROSECONDS))
        lane.near = False
        self._set_timer(lane, seconds, ahead_s=0.0)

    def end(self, lane: Lane) -> None:
        """It goes on now, whenever it was due."""
        if timer := self._timers.pop(lane, None):
            timer.cancel()
        lane.rest = None
        self._go_on(lane)

    def stop(self) -> None:
        """Nothing is told any more when it is due."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _set_timer(self, lane: Lane, seconds: float, ahead_s: float = AHEAD_S) -> None:
        # Not in one piece: a loop has a longest wait, and clocks are set.
        before_s = seconds - ahead_s
        wait_s = min(before_s if before_s > 0 else max(0.0, seconds), LONGEST_TIMER_S)
        loop = asyncio.get_running_loop()
        self._timers[lane] = loop.call_later(wait_s, self._look, lane, ahead_s)

    def _look(self, lane: Lane, ahead_s: float) -> None:
        if lane.rest is None or lane.rest.due_at_us is None:
            return
        left_s = lane.rest.due_at_us / MICROSECONDS - time.time()
        if left_s <= 0:
            self.end(lane)
            return
        self._set_timer(lane, left_s, ahead_s)
        if left_s <= ahead_s and not lane.near:
            lane.near = True
            self._near(lane)
