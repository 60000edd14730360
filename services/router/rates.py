"""How much may come: token buckets of requests and bytes, and a count of what is in flight.

A bucket holds its limit's worth at the start, so that much may come at once; then it fills
evenly. In no window comes more than the limit for its length and one limit besides. Each
of N routers gives out its N-th, at least one at once.
"""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from hookline.errors import Overloaded
from hookline.flow_admission import Rate

Clock = Callable[[], float]
SOON_S: Final = 1
# Who comes when it was told to is not refused for a rounding.
ROUNDING: Final = 1e-3
HeaderPairs = tuple[tuple[str, str], ...]


class Bucket:
    """A token bucket that knows when to come back."""

    def __init__(self, most: float, per_s: float, now: Clock = time.monotonic) -> None:
        self._rate = most / per_s
        self._most = max(1.0, most)
        self._now = now
        # What was left then; below zero where more was taken than there was.
        self._left = self._most
        self._at = now()

    def wait_s(self, count: float = 1.0) -> float:
        """Seconds until so many may be taken; 0 where they may be now.

        More than it ever holds may be taken when it is full.
        """
        missing = min(count, self._most) - self._refilled()
        return missing / self._rate if missing > ROUNDING else 0.0

    def take(self, count: float = 1.0) -> None:
        """Take so many, whether they are there or not."""
        self._left = self._refilled() - count
        self._at = self._now()

    def left(self) -> int:
        """How many may be taken at once."""
        return max(0, math.floor(self._refilled() + ROUNDING))

    def full_in_s(self) -> float:
        """Seconds until it is full again."""
        return (self._most - self._refilled()) / self._rate

    def _refilled(self) -> float:
        refilled = self._left + (self._now() - self._at) * self._rate
        return min(self._most, refilled)


class Limits(NamedTuple):
    """What a flow, or a source, may send."""

    requests: float | None = None
    bytes: float | None = None
    per_s: float = 1.0
    in_flight: int | None = None


def limits_of(rate: Rate | None, in_flight: int | None) -> Limits | None:
    """What a flow's trigger says; None where it says nothing."""
    if rate is None:
        return Limits(in_flight=in_flight) if in_flight else None
    return Limits(rate.limit, rate.bytes, rate.per_s, in_flight)


class Quota:
    """What is left of a flow's, or a source's, limits at this router of so many."""

    def __init__(
        self, whose: str, limits: Limits, routers: int = 1, now: Clock = time.monotonic
    ) -> None:
        self.limits = limits
        self._whose = whose
        self._requests = self._bucket(limits.requests, routers, now)
        self._bytes = self._bucket(limits.bytes, routers, now)
        self._in_flight = 0
        self._most_in_flight = math.inf
        if limits.in_flight is not None:
            self._most_in_flight = max(1, limits.in_flight // routers)
        self._policy = ", ".join(self._policies())

    def _bucket(self, most: float | None, routers: int, now: Clock) -> Bucket | None:
        return None if not most else Bucket(most / routers, self.limits.per_s, now)

    def check(self, size: int = 0) -> None:
        """Raise Overloaded where a request of so many bytes would not be let in now."""
        wait_s = 0.0
        if self._requests is not None:
            wait_s = self._requests.wait_s()
        if self._bytes is not None and size:
            wait_s = max(wait_s, self._bytes.wait_s(size))
        if wait_s:
            raise Overloaded(
                f"{self._whose} sends more than its rate: slow down.",
                max(SOON_S, math.ceil(wait_s)),
                self.fields(),
            )
        if self._in_flight >= self._most_in_flight:
            text = f"{self._whose} has too many requests under way: send fewer at once."
            raise Overloaded(text, SOON_S)

    def take(self, size: int) -> None:
        """Let a request of so many bytes in. Raises Overloaded."""
        self.check(size)
        if self._requests is not None:
            self._requests.take()
        if self._bytes is not None:
            self._bytes.take(size)

    def enter(self) -> None:
        """One more is under way."""
        self._in_flight += 1

    def leave(self, _done: object = None) -> None:
        """One less is."""
        self._in_flight -= 1

    def fields(self) -> HeaderPairs:
        """RateLimit-Policy and RateLimit: draft-ietf-httpapi-ratelimit-headers, 8 to 10.

        `r` is what this router has left, `t` the seconds until all of it is there again,
        or where nothing is left, until it is worth coming back.
        """
        if not self._policy:
            return ()
        states = [
            _state(name, bucket)
            for name, bucket in (("requests", self._requests), ("bytes", self._bytes))
            if bucket is not None
        ]
        return (("RateLimit-Policy", self._policy), ("RateLimit", ", ".join(states)))

    def _policies(self) -> list[str]:
        limits, window = self.limits, f"w={self.limits.per_s:g}"
        policies = []
        if limits.requests:
            policies.append(f'"requests";q={math.ceil(limits.requests)};{window}')
        if limits.bytes:
            size = f'q={math.ceil(limits.bytes)};qu="content-bytes"'
            policies.append(f'"bytes";{size};{window}')
        return policies


def _state(name: str, bucket: Bucket) -> str:
    left = bucket.left()
    seconds = bucket.full_in_s() if left else bucket.wait_s()
    return f'"{name}";r={left};t={math.ceil(seconds)}'
