"""How many connections are open: bounded in all, and for each address.

Where all places are taken, a newcomer gets that of a connection which has sent nothing for
long, though it is waited for: for a request, or for the rest of its body. One whose request
is in work otherwise keeps its place. A connection costs about 11 KiB while nothing is on
its way, so the bound is one of memory, too.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

# How many are looked at for the one whose sender has been waited for the longest.
LOOKED_AT: Final = 32


class Placed(Protocol):
    """A connection."""

    @property
    def share(self) -> str:
        """The address it counts for; empty where it counts for none."""
        ...

    @property
    def waiting_since(self) -> float | None:
        """Since when its sender is waited for; None while it is not."""
        ...

    def close_if_overdue(self, now: float) -> None:
        """End it if something has not come, or not gone, in time."""
        ...

    def abort(self) -> None:
        """End it at once."""
        ...


class Places:
    """The open connections; `refused` is told why one gets no place."""

    def __init__(
        self, most: int, most_of_one: int, refused: Callable[[str], None]
    ) -> None:
        self._most = most
        # So that whatever the settings and the descriptors are, others get in.
        self._most_of_one = min(most_of_one, max(1, most // 2))
        self._refused = refused
        self._open: OrderedDict[Placed, None] = OrderedDict()
        self._shares: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def take(self, connection: Placed) -> bool:
        """Take a place; False where there is none."""
        share = connection.share
        if share and self._shares[share] >= self._most_of_one:
            self._refused("address")
            return False
        if len(self._open) >= self._most and not self._free_one():
            self._refused("total")
            return False
        self._open[connection] = None
        self._shares[share] += 1
        return True

    def give(self, connection: Placed) -> None:
        """Give a place back; nothing happens where it was given back already."""
        if connection not in self._open:
            return
        del self._open[connection]
        self._shares[connection.share] -= 1
        if not self._shares[connection.share]:
            del self._shares[connection.share]

    def sweep(self, part: int, now: float) -> None:
        """Look at the next of so many parts of all connections for overdue ones."""
        for connection in self._next(-(-len(self._open) // part)):
            connection.close_if_overdue(now)

    def _free_one(self) -> bool:
        waiting = [
            (since, number, connection)
            for number, connection in enumerate(self._next(LOOKED_AT))
            if (since := connection.waiting_since) is not None
        ]
        if not waiting:
            return False
        *_, longest = min(waiting, key=lambda one: one[:2])
        self._refused("idle")
        self.give(longest)
        longest.abort()
        return True

    def _next(self, count: int) -> list[Placed]:
        """So many in turn; each has its turn before one has its second."""
        turn = []
        for _ in range(min(count, len(self._open))):
            connection = next(iter(self._open))
            self._open.move_to_end(connection)
            turn.append(connection)
        return turn
