"""A bound of bytes that many have held at once, shared out among those who send them.

One half is for whoever comes first. The other half is shared out evenly, and whoever has
nothing here yet gets in while there is any room: who has all held that it can get leaves
room for others. For more of what is here already there is a quarter beside the first half,
so that those who wait for more cannot all wait for each other.
"""

from typing import Final

# What a request that waits holds at the edge besides its bytes: a connection, its parser
# and its task, as measured.
OVERHEAD_BYTES: Final = 16 * 1024
FULL: Final = "Too many requests are on their way: send this one again later."


class Shares:
    """What each source holds; `taken`, the sum, never passes `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._own: dict[str, int] = {}

    def take(self, source: str, size: int, *, more: bool = False) -> bool:
        """Hold so many bytes more; False, and nothing is held, where there is no room."""
        own = self._own.get(source, 0)
        if not self._admits(own, size, more=more):
            return False
        self._own[source] = own + size
        self.taken += size
        return True

    def give(self, source: str, size: int) -> None:
        """Hold so many bytes less."""
        self.taken -= size
        left = self._own.get(source, 0) - size
        if left:
            self._own[source] = left
        else:
            self._own.pop(source, None)

    def _admits(self, own: int, size: int, *, more: bool) -> bool:
        half = self.most // 2
        total = self.taken + size
        if total <= (half + half // 2 if more else half):
            return True
        return total <= self.most and (not own or own + size <= half // len(self._own))
