"""How many bytes of requests the edge holds whose outcome is not there yet."""

from collections.abc import Iterator
from contextlib import contextmanager

from hookline.errors import Unavailable
from hookline.shares import FULL, Shares
from hookline.sources import source_of


class ByteBound:
    """The bound of one ingress process.

    Of bodies on their way it takes half at most, and of them senders have shares: who
    begins many and ends none holds neither what is complete nor other senders back.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._arriving = Shares(most // 2)
        self.taken = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises Unavailable where there is no room."""
        if self.taken + size > self._most:
            raise Unavailable(FULL)
        self.taken += size

    def give(self, size: int) -> None:
        """Hold so many bytes less."""
        self.taken -= size

    @contextmanager
    def holding(self, remote: str) -> Iterator["Arriving"]:
        """What a body on its way holds; it ends with the block."""
        arriving = Arriving(self, self._arriving, source_of(remote))
        try:
            yield arriving
        finally:
            arriving.end()


class Arriving:
    """What one body holds, on its way and then as a whole."""

    def __init__(self, bound: ByteBound, shares: Shares, source: str) -> None:
        self._bound = bound
        self._shares: Shares | None = shares
        self._source = source
        self._held = 0

    def hold(self, size: int) -> None:
        """Hold so many bytes more, fewer where negative. Raises Unavailable."""
        if size > 0:
            self._bound.take(size)
            shares = self._shares
            if shares is not None and not shares.take(self._source, size):
                self._bound.give(size)
                raise Unavailable(FULL)
        else:
            self._bound.give(-size)
            if self._shares is not None:
                self._shares.give(self._source, -size)
        self._held += size

    def complete(self) -> None:
        """All of it is here: its sender is waited for no more."""
        if self._shares is not None:
            self._shares.give(self._source, self._held)
            self._shares = None

    def end(self) -> None:
        """Hold nothing any more."""
        self.complete()
        self._bound.give(self._held)
