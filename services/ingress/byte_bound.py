"""How many bytes of requests the edge holds whose outcome is not there yet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from hookline.errors import Unavailable

# What a request that waits holds besides its bytes: a connection, its parser and its
# task, as measured.
OVERHEAD_BYTES: Final = 16 * 1024
FULL = "Too many requests are on their way: send this one again later."
Hold = Callable[[int], None]


class ByteBound:
    """The bound of one ingress process."""

    def __init__(self, most: int) -> None:
        self._most = most
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
    def holding(self) -> Iterator[Hold]:
        """Gives what holds bytes, fewer where negative; all end with the block."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if size > 0:
                self.take(size)
            else:
                self.give(-size)
            held += size

        try:
            yield hold
        finally:
            self.give(held)
