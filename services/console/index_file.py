"""The index's file: SQLite, beside the log or in a directory of its own. Blocks.

It holds nothing that is not in the log, so it may be deleted at any time: what is made
for another version, or another log, is thrown away and filled anew. How far topics have
been read is kept in the transaction of the rows that were made of it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from hookline.claims import UNCLAIMED, Claim
from hookline.errors import BadConfiguration, Unavailable
from services.console.index_rows import Rows, place_of

# Of the tables and of what is put into them: another number, and they are made anew.
VERSION: Final = 1
FILE_NAME: Final = "console.sqlite"
BUSY_MS: Final = 5_000
MOST_ANSWER_S: Final = 10.0
TABLES: Final = """
CREATE TABLE made_for (log TEXT NOT NULL);
CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL,
  epoch INTEGER NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (topic, partition));
CREATE TABLE events (place INTEGER PRIMARY KEY, accepted_at_us INTEGER, flow_id TEXT,
  flow_version INTEGER, event_id BLOB, replayed BLOB, rank INTEGER NOT NULL,
  status INTEGER NOT NULL, started_at_us INTEGER, ended_at_us INTEGER, attempts INTEGER,
  step TEXT, reason TEXT, result BLOB, attempt INTEGER, next_at_us INTEGER,
  end_offset INTEGER);
CREATE INDEX by_time ON events (accepted_at_us);
CREATE INDEX by_flow ON events (flow_id, accepted_at_us);
CREATE INDEX by_status ON events (status, accepted_at_us) WHERE status <> 2;
CREATE INDEX by_id ON events (event_id);
CREATE INDEX by_original ON events (replayed) WHERE replayed IS NOT NULL;
CREATE TABLE happened (place INTEGER, offset INTEGER, PRIMARY KEY (place, offset))
  WITHOUT ROWID;
CREATE TABLE letters (place INTEGER PRIMARY KEY, offset INTEGER NOT NULL,
  event_id BLOB NOT NULL, flow_id TEXT NOT NULL, failed_at_us INTEGER NOT NULL,
  step TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL,
  indeterminate INTEGER NOT NULL);
CREATE INDEX letters_by_time ON letters (failed_at_us);
CREATE INDEX letters_by_flow ON letters (flow_id, failed_at_us);
CREATE INDEX letters_by_id ON letters (event_id);
"""
FACTS: Final = (*("accepted_at_us", "flow_id", "flow_version", "event_id", "replayed"),)
STAND: Final = (
    *("rank", "status", "started_at_us", "ended_at_us", "attempts", "step", "reason"),
    *("result", "attempt", "next_at_us", "end_offset"),
)
NO_FACTS: Final = (None,) * len(FACTS)
NO_STAND: Final = (0, 1, *(None,) * (len(STAND) - 2))
PUT_EVENT: Final = (
    f"INSERT INTO events VALUES ({', '.join('?' * (1 + len(FACTS) + len(STAND)))}) "  # noqa: S608 - names of ours
    "ON CONFLICT (place) DO UPDATE SET "
    + ", ".join(
        [
            *(f"{one} = coalesce({one}, excluded.{one})" for one in FACTS),
            *(
                f"{one} = iif(excluded.rank > rank, excluded.{one}, {one})"
                for one in STAND
            ),
        ]
    )
)
PUT_LETTER: Final = "INSERT OR IGNORE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
Key = tuple[str, int]


class At(NamedTuple):
    """How far a partition of a topic has been read, and the claim that holds there."""

    next: int = 0
    claim: Claim = UNCLAIMED


class IndexFile:
    """One connection: the one that writes, or with `read_only` the one that answers."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._answer_until = 0.0

    def positions(self) -> dict[Key, At]:
        """How far each partition of each topic has been read."""
        with _unavailable():
            found: list[tuple[Any, ...]] = self._connection.execute(
                "SELECT topic, partition, next, epoch, owner FROM positions"
            ).fetchall()
        return {
            (topic, partition): At(following, Claim(epoch, int(owner)))
            for topic, partition, following, epoch, owner in found
        }

    def write(self, rows: Rows, positions: Mapping[Key, At]) -> None:
        """Put rows in, and how far has been read with them: all or nothing."""
        with _unavailable(), self._connection as connection:
            connection.executemany(PUT_EVENT, _event_rows(rows))
            connection.executemany(
                "INSERT OR IGNORE INTO happened VALUES (?, ?)", sorted(rows.happened)
            )
            connection.executemany(
                PUT_LETTER,
                [(place, *letter) for place, letter in sorted(rows.letters.items())],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)",
                [
                    (*key, at.next, at.claim.epoch, str(at.claim.owner))
                    for key, at in positions.items()
                ],
            )

    def forget_events(self, partition: int, before: int, most: int) -> bool:
        """Forget some rows of events that are gone; tells whether some may be left."""
        first, end = place_of(partition, 0), place_of(partition, before)
        gone = "SELECT place FROM {} WHERE place >= ? AND place < ? LIMIT ?"
        left = 0
        with _unavailable(), self._connection as connection:
            for table in ("events", "happened"):
                connection.execute(
                    f"DELETE FROM {table} WHERE place IN ({gone.format(table)})",  # noqa: S608 - names of ours
                    (first, end, most),
                )
                left += connection.changes()
        return left >= most

    def forget_letters(self, partition: int, before: int) -> None:
        """Forget dead letters that are gone."""
        with _unavailable(), self._connection as connection:
            connection.execute(
                "DELETE FROM letters WHERE place >= ? AND place < ? AND offset < ?",
                (place_of(partition, 0), place_of(partition + 1, 0), before),
            )

    def clear(self) -> None:
        """Forget everything."""
        with _unavailable(), self._connection as connection:
            for table in ("events", "happened", "letters", "positions"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def ask(self, question: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Answer a question. Raises Unavailable where that takes too long."""
        self._answer_until = time.monotonic() + MOST_ANSWER_S
        try:
            return list(self._connection.execute(question, values))
        except apsw.InterruptError as error:
            raise Unavailable(
                f"This takes longer than {MOST_ANSWER_S:.0f} s: ask for one flow, or for a "
                "shorter time."
            ) from error

    def limit_answers(self) -> None:
        """From here on no question is worked at for longer than it may take."""
        self._connection.set_progress_handler(
            lambda: time.monotonic() > self._answer_until, 100_000
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close(True)  # noqa: FBT003 - apsw's own signature


@contextmanager
def _unavailable() -> Iterator[None]:
    """A full disk is waited for; what was not written is read again."""
    try:
        yield
    except apsw.Error as error:
        raise Unavailable(f"The index cannot be written now: {error}") from error


def _event_rows(rows: Rows) -> Iterable[tuple[Any, ...]]:
    """By place, so that neighbours are written together."""
    for place in sorted(rows.facts.keys() | rows.stands.keys()):
        facts = rows.facts.get(place, NO_FACTS)
        yield place, *facts, *rows.stands.get(place, NO_STAND)


def open_index(directory: Path, log: str) -> tuple[IndexFile, IndexFile]:
    """The index of a log in a directory: who writes it, and who reads it.

    Raises BadConfiguration where the directory cannot be used.
    """
    path = directory / FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        writing = _connect(path)
        if not _is_made_for(writing, log):
            writing.close()
            _delete(path)
            writing = _connect(path)
            _make(writing, log)
        path.chmod(0o600)
        reading = IndexFile(_connect(path))
    except (OSError, apsw.Error) as error:
        raise BadConfiguration(
            f"the index {path} cannot be used: {error}. Make its directory writable, or "
            "choose another with --data; the file itself may be deleted, it is made anew."
        ) from error
    reading.limit_answers()
    return IndexFile(writing), reading


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_MS)
    return connection


def _is_made_for(connection: apsw.Connection, log: str) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # What a power cut takes is read again.
        connection.execute("PRAGMA synchronous = NORMAL")
        [(version,)] = connection.execute("PRAGMA user_version")
        return version == VERSION and _log_of(connection) == log
    except apsw.Error:
        return False  # a file that is none, or is damaged


def _log_of(connection: apsw.Connection) -> str:
    [(log,)] = connection.execute("SELECT log FROM made_for")
    return str(log)


def _delete(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _make(connection: apsw.Connection, log: str) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    with connection:
        connection.execute(TABLES)
        connection.execute("INSERT INTO made_for VALUES (?)", (log,))
        connection.execute(f"PRAGMA user_version = {VERSION}")
