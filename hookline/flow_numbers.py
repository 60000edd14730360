"""One flow's records that are numbered: its versions, or its decisions.

Of one number the first record counts, and of all numbers the highest. A record that is
there twice keeps its place; one that is taken out leaves it to the next.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Numbered(Generic[T]):
    """Records by their number, and of one number by their keys, in the log's order."""

    def __init__(self) -> None:
        self._by_number: dict[int, dict[bytes, T]] = {}
        self.highest = 0

    def take(self, number: int, key: bytes, message: T) -> bool:
        """A record; tells whether it is the first of its number."""
        alike = self._by_number.setdefault(number, {})
        alike.setdefault(key, message)
        self.highest = max(self.highest, number)
        return next(iter(alike)) == key

    def take_out(self, number: int, key: bytes) -> bool:
        """A record is taken out of the topic; tells whether it was the first."""
        alike = self._by_number.get(number, {})
        was_first = next(iter(alike), None) == key
        if alike.pop(key, None) is not None and not alike:
            del self._by_number[number]
            self.highest = max(self._by_number, default=0)
        return was_first

    def get(self, number: int) -> T | None:
        """The one that counts of a number."""
        return next(iter(self._by_number.get(number, {}).values()), None)

    @property
    def current(self) -> T | None:
        """The one of the highest number."""
        return self.get(self.highest)

    def newest_first(self) -> Iterator[T]:
        """The one that counts of each number."""
        for number in sorted(self._by_number, reverse=True):
            yield next(iter(self._by_number[number].values()))

    def lost(self) -> Iterator[bytes]:
        """The keys of records that are not the first of their number."""
        for alike in self._by_number.values():
            yield from list(alike)[1:]

    def past(self) -> Iterator[bytes]:
        """The keys of all records of lower numbers."""
        for number, alike in self._by_number.items():
            if number < self.highest:
                yield from alike
