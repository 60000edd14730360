"""What callers and the nemesis did, as they did it: one JSON line each, kept in a file.

A request begins with `Invoke` and ends with one of `Ok` (2xx), `Fail` (refused for
certain: it is not in the log) and `Info` (5xx, no answer: nobody knows). Times are the
machine's clock in microseconds since 1970, as they are in the journal.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What all lines have."""

    at_us: int


class Asked(Line, frozen=True, kw_only=True):
    """A line of a request; caller and number together are what it is known by."""

    caller: str
    number: int


class Invoke(Asked, frozen=True, kw_only=True, tag="invoke"):
    """A request is about to be sent."""

    flow: str
    fate: str = ""
    key: str = ""


class Ok(Asked, frozen=True, kw_only=True, tag="ok"):
    """It was accepted."""

    event_id: str


class Fail(Asked, frozen=True, kw_only=True, tag="fail"):
    """It was refused, for certain."""

    status: int


class Info(Asked, frozen=True, kw_only=True, tag="info"):
    """What became of it is not known."""

    text: str


class Fault(Line, frozen=True, kw_only=True, tag="fault"):
    """A fault, written when it is healed; `at_us` is when it began."""

    name: str
    healed_us: int
    # How often executions may have been cut short, and run again for it.
    crashes: int = 0
    # From when to when the log could take nothing, for certain.
    unwritable_us: tuple[int, int] | None = None


class Drained(Line, frozen=True, kw_only=True, tag="drained"):
    """Nothing was unfinished any more."""


Entry = Invoke | Ok | Fail | Info | Fault | Drained


def now_us() -> int:
    """The machine's clock."""
    return time.time_ns() // 1000


class History:
    """Keeps lines in memory and, as they come, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Entry] = []
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        self._file = self.path.open("ab")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, line: Entry) -> None:
        """Keep a line."""
        self.lines.append(line)
        self._file.write(self._encoder.encode(line) + b"\n")
        self._file.flush()


def read_history(path: Path) -> list[Entry]:
    """The lines of a file, to have them judged again."""
    decoder = msgspec.json.Decoder(Entry)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request from its beginning to what its caller was told, if anything."""

    invoke: Invoke
    end: Ok | Fail | Info | None = None

    @property
    def name(self) -> tuple[str, int]:
        """What its event carries."""
        return self.invoke.caller, self.invoke.number

    @property
    def accepted(self) -> bool:
        """Whether the caller has a 2xx."""
        return isinstance(self.end, Ok)


def calls_of(lines: Iterable[Entry]) -> list[Call]:
    """Requests in the order in which they began; a caller has one at a time."""
    calls: list[Call] = []
    open_by_caller: dict[str, int] = {}
    for line in lines:
        match line:
            case Invoke():
                open_by_caller[line.caller] = len(calls)
                calls.append(Call(invoke=line))
            case Ok() | Fail() | Info():
                at = open_by_caller.pop(line.caller)
                calls[at] = Call(invoke=calls[at].invoke, end=line)
    return calls
