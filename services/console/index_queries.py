"""What is asked of the index: pages of events and dead letters, by filter, newest first."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hookline.errors import Error
from hookline.v1 import execution_pb2
from services.console.index_file import IndexFile
from services.console.index_rows import packed_id, place_of, position_of, unpacked_id

COLUMNS: Final = (
    "place, accepted_at_us, flow_id, flow_version, event_id, replayed, status, "
    "started_at_us, ended_at_us, attempts, step, reason, result, attempt, next_at_us, "
    "end_offset"
)
LETTER_COLUMNS: Final = (
    "place, offset, event_id, flow_id, failed_at_us, step, reason, attempts, "
    "indeterminate"
)
NEWEST: Final = (1 << 62, 1 << 62)
# Numbers that SQLite takes for one.
TOKEN: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")
# What a place has room for.
PARTITION: Final = re.compile(r"[0-9]{1,4}")
OFFSET: Final = re.compile(r"[0-9]{1,14}")
COMPLETED: Final = execution_pb2.STATUS_COMPLETED
DUPLICATE: Final = int(execution_pb2.STATUS_DUPLICATE)


class BadFilter(Error):
    """A filter, or a page token, that cannot be read."""


class Indexed(NamedTuple):
    """A row of the index: an event, and how it stands."""

    place: int
    accepted_at_us: int
    flow_id: str
    flow_version: int
    packed_id: bytes
    packed_replayed: bytes | None
    status: int
    started_at_us: int | None
    ended_at_us: int | None
    attempts: int | None
    step: str | None
    reason: str | None
    result: bytes | None
    attempt: int | None
    next_at_us: int | None
    end_offset: int | None

    @property
    def event_id(self) -> str:
        """Its id as text."""
        return unpacked_id(self.packed_id)

    @property
    def replayed(self) -> str:
        """The id of the event that it repeats."""
        return unpacked_id(self.packed_replayed)

    @property
    def position(self) -> tuple[int, int]:
        """Partition and offset."""
        return position_of(self.place)


class IndexedLetter(NamedTuple):
    """A row of the index: a dead letter; `offset` is its own."""

    place: int
    offset: int
    packed_id: bytes
    flow_id: str
    failed_at_us: int
    step: str
    reason: str
    attempts: int
    indeterminate: int

    @property
    def id(self) -> str:
        """The event's id, or where it is, of a record that is no event."""
        partition, offset = position_of(self.place)
        return unpacked_id(self.packed_id) or f"{partition}/{offset}"


class Replay(NamedTuple):
    """An event that repeats another, and how it stands."""

    event_id: str
    status: int


class Page(NamedTuple):
    """Where a page begins: behind a row with this time and place."""

    time_us: int
    place: int

    @classmethod
    def behind(cls, token: str) -> "Page":
        """Read a page token. Raises BadFilter."""
        if not token:
            return cls(*NEWEST)
        read = TOKEN.fullmatch(token)
        if read is None:
            raise BadFilter(
                "The page token is none of ours: take `next_page_token` of the page before."
            )
        return cls(int(read[1]), int(read[2]))

    @property
    def token(self) -> str:
        """It, for who asks for the next page."""
        return f"{self.time_us}.{self.place}"


class _Where:
    """Conditions and their values."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        self._conditions.append(condition)
        self.values += values

    @property
    def text(self) -> str:
        return " AND ".join(self._conditions)


def _filtered(wanted: execution_pb2.EventFilter, time: str, table: str) -> _Where:
    """What events and dead letters have in common."""
    where = _Where()
    where.add(f"{time} IS NOT NULL")
    if wanted.flow_id:
        where.add("flow_id = ?", wanted.flow_id)
    if wanted.since_us:
        where.add(f"{time} >= ?", wanted.since_us)
    if wanted.before_us:
        where.add(f"{time} < ?", wanted.before_us)
    if wanted.event_ids:
        marks = ", ".join("?" * len(wanted.event_ids))
        where.add(f"event_id IN ({marks})", *map(packed_id, wanted.event_ids))
    if wanted.text:
        where.add("reason LIKE ? ESCAPE '\\'", f"%{_literal(wanted.text)}%")
    if wanted.not_replayed:
        where.add(
            "NOT EXISTS (SELECT 1 FROM events AS again "  # noqa: S608 - words of ours
            f"WHERE again.replayed = {table}.event_id)"
        )
    return where


def _literal(text: str) -> str:
    for mark in "\\%_":
        text = text.replace(mark, "\\" + mark)
    return text


def _events_where(wanted: execution_pb2.EventFilter) -> _Where:
    where = _filtered(wanted, "accepted_at_us", "events")
    if wanted.statuses:
        statuses = ", ".join(str(int(one)) for one in wanted.statuses)
        where.add(f"status IN ({statuses})")
        if COMPLETED not in wanted.statuses:
            where.add("status <> 2")  # in the words of the index by status
    return where


def events(
    index: IndexFile, wanted: execution_pb2.EventFilter, behind: Page, limit: int
) -> list[Indexed]:
    """A page of events, newest first."""
    where = _events_where(wanted)
    where.add("(accepted_at_us, place) < (?, ?)", *behind)
    rows = index.ask(
        f"SELECT {COLUMNS} FROM events WHERE {where.text} "  # noqa: S608 - words of ours
        "ORDER BY accepted_at_us DESC, place DESC LIMIT ?",
        [*where.values, limit],
    )
    return [Indexed(*row) for row in rows]


def event_places(index: IndexFile, wanted: execution_pb2.EventFilter) -> list[int]:
    """Where all events are that a filter finds, in the order of their acceptance.

    Without those that have not run because they repeat another, unless it asks for them.
    """
    where = _events_where(wanted)
    if not wanted.statuses:
        where.add(f"status <> {DUPLICATE}")
    rows = index.ask(
        f"SELECT place FROM events WHERE {where.text} "  # noqa: S608 - words of ours
        "ORDER BY accepted_at_us, place",
        where.values,
    )
    return [place for [place] in rows]


def find(index: IndexFile, event_id: str) -> Indexed | None:
    """The event with an id; of several the one that has not ended, or the newest.

    An id comes again where its record is there twice, or a key after its window; what was
    no repeat goes before what was one.
    """
    rows = index.ask(
        f"SELECT {COLUMNS} FROM events WHERE event_id = ? "  # noqa: S608 - words of ours
        "AND accepted_at_us IS NOT NULL "
        "ORDER BY status = ?, end_offset IS NOT NULL, place DESC LIMIT 1",
        (packed_id(event_id), DUPLICATE),
    )
    return Indexed(*rows[0]) if rows else None


def happened(index: IndexFile, place: int, limit: int) -> list[int]:
    """Offsets of the newest records of the journal on an event's way, in their order."""
    rows = index.ask(
        "SELECT offset FROM happened WHERE place = ? ORDER BY offset DESC LIMIT ?",
        (place, limit),
    )
    return [offset for [offset] in reversed(rows)]


def letters(
    index: IndexFile, wanted: execution_pb2.EventFilter, behind: Page, limit: int
) -> list[IndexedLetter]:
    """A page of dead letters; what failed last comes first."""
    where = _filtered(wanted, "failed_at_us", "letters")
    where.add("(failed_at_us, place) < (?, ?)", *behind)
    rows = index.ask(
        f"SELECT {LETTER_COLUMNS} FROM letters WHERE {where.text} "  # noqa: S608 - words of ours
        "ORDER BY failed_at_us DESC, place DESC LIMIT ?",
        [*where.values, limit],
    )
    return [IndexedLetter(*row) for row in rows]


def letter_places(
    index: IndexFile, wanted: execution_pb2.EventFilter
) -> list[tuple[int, int]]:
    """Place and own offset of all dead letters of events that a filter finds.

    In the order in which their events were accepted.
    """
    where = _filtered(wanted, "failed_at_us", "letters")
    where.add("event_id <> x''")
    rows = index.ask(
        f"SELECT place, offset FROM letters WHERE {where.text} ORDER BY place",  # noqa: S608 - words of ours
        where.values,
    )
    return [(place, offset) for place, offset in rows]


def find_letter(index: IndexFile, letter_id: str) -> IndexedLetter | None:
    """The dead letter of an event, or that of a record that is none: PARTITION/OFFSET."""
    partition, slash, offset = letter_id.partition("/")
    if slash and PARTITION.fullmatch(partition) and OFFSET.fullmatch(offset):
        return letter_at(index, place_of(int(partition), int(offset)))
    return _letter(index, "event_id = ?", packed_id(letter_id))


def letter_at(index: IndexFile, place: int) -> IndexedLetter | None:
    """The dead letter of the event at a place."""
    return _letter(index, "place = ?", place)


def _letter(
    index: IndexFile, condition: str, value: int | bytes
) -> IndexedLetter | None:
    rows = index.ask(
        f"SELECT {LETTER_COLUMNS} FROM letters WHERE {condition} "  # noqa: S608 - words of ours
        "ORDER BY place LIMIT 1",
        (value,),
    )
    return IndexedLetter(*rows[0]) if rows else None


def replays(index: IndexFile, originals: Sequence[bytes]) -> dict[bytes, list[Replay]]:
    """The events that repeat others, oldest first, by the packed ids of the others."""
    wanted = [one for one in originals if one]
    if not wanted:
        return {}
    rows = index.ask(
        "SELECT replayed, event_id, status FROM events WHERE replayed IN "  # noqa: S608 - marks
        f"({', '.join('?' * len(wanted))}) ORDER BY accepted_at_us, place",
        wanted,
    )
    found: dict[bytes, list[Replay]] = {}
    for original, event_id, status in rows:
        found.setdefault(original, []).append(Replay(unpacked_id(event_id), status))
    return found
