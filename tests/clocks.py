"""A clock that a test sets."""

from dataclasses import dataclass


@dataclass(slots=True)
class Clock:
    """Seconds; they pass when the test says so."""

    seconds: float = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds
