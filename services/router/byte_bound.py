"""How many bytes of requests the router holds that it has not answered.

One half is for whoever comes first. The other half is shared out evenly among the streams
that are open, so that an edge that floods the router, or whose flows hang at a partition
without a leader, is refused while every other edge still gets in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# What a request that waits holds besides its bytes, here and in the log's client, as
# measured.
OVERHEAD_BYTES: Final = 4 * 1024


class ByteBound:
    """The bound of one router process; `taken` never passes `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._shares = 0
        self.taken = 0

    @contextmanager
    def sharing(self) -> Iterator["Share"]:
        """A share for as long as a stream is open; what it still holds is given back."""
        self._shares += 1
        share = Share(self)
        try:
            yield share
        finally:
            self._shares -= 1
            share.give(share.taken)
            share.closed = True

    def admits(self, size: int, own: int) -> bool:
        """Whether a stream that holds `own` bytes may hold so many more."""
        half = self._most // 2
        total = self.taken + size
        return total <= half or (
            total <= self._most and own + size <= half // max(1, self._shares)
        )


class Share:
    """What one stream holds."""

    def __init__(self, bound: ByteBound) -> None:
        self._bound = bound
        self.taken = 0
        self.closed = False

    def take(self, size: int) -> bool:
        """Hold so many bytes more; False, and nothing is held, where there is no room."""
        if not self._bound.admits(size, self.taken):
            return False
        self.taken += size
        self._bound.taken += size
        return True

    def give(self, size: int) -> None:
        """Hold so many bytes less."""
        if not self.closed:
            self.taken -= size
            self._bound.taken -= size
