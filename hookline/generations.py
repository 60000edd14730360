"""A mapping that forgets its oldest items beyond a number, at no cost an item."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
Forgotten = Callable[[Mapping[K, V]], None]


class Generations(Generic[K, V]):
    """Two dicts: what is put goes into the newer one; when that is full the older one goes.

    So it holds at least the newest half of `most`, and at most `most`. What it forgets
    depends on nothing but what was put into it.
    """

    __slots__ = ("_half", "newer", "older", "on_forgotten")

    def __init__(
        self, most: int, on_forgotten: Forgotten[K, V] = lambda _: None
    ) -> None:
        self._half = max(1, most // 2)
        self.newer: dict[K, V] = {}
        self.older: dict[K, V] = {}
        self.on_forgotten = on_forgotten

    def get(self, key: K) -> V | None:
        """What was put last under a key, if it is remembered."""
        found = self.newer.get(key)
        return self.older.get(key) if found is None else found

    def put(self, key: K, value: V) -> None:
        """Remember a value."""
        if len(self.newer) >= self._half and key not in self.newer:
            if self.older:
                self.on_forgotten(self.older)
            self.older, self.newer = self.newer, {}
        self.newer[key] = value

    def clear(self) -> None:
        """Remember nothing."""
        self.older, self.newer = {}, {}

    def __len__(self) -> int:
        """How many are remembered; one that was put anew can count twice."""
        return len(self.newer) + len(self.older)
