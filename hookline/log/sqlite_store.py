"""The file behind the embedded log: tables, transactions, checkpoints. Blocks.

A table for each partition, rowid = offset; in a compacted topic the key is unique. Every
record has a CRC, for a bit that flips in the file is not noticed by SQLite itself.
"""

import fcntl
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw

from hookline.errors import BadConfiguration, Error
from hookline.log import Bounds, Commit, Record, Topic
from hookline.log.sqlite_bound import BoundedTables

READ_BYTES: Final = 1024 * 1024
PASSIVE_PAGES: Final = 1_000
RESTART_PAGES: Final = 4_000
BUSY_MS: Final = 50
TRIM_ROWS: Final = 1_000
TRIM_BYTES: Final = 2 * 1024 * 1024
ROW: Final = "(?, ?, ?, ?, ?)"
COLUMNS: Final = 5
# Each statement lets go of the interpreter's lock and must get it back from a busy loop:
# so as few statements as possible a commit.
ROWS_A_STATEMENT: Final = (64, 16, 4, 1)
FILE_NAME: Final = "log.sqlite"
LOCK_NAME: Final = "LOCK"
Operation = Callable[[apsw.Connection], Any]


class CorruptRecord(Error):
    """A record's bytes are not those that were written: the file is damaged."""

    def __init__(self, table: "Table", offset: int) -> None:
        super().__init__(
            f"the record at offset {offset} of {table.topic.name}/{table.partition} is "
            "damaged: its CRC does not match. Restore the data directory from a backup."
        )


@dataclass(eq=False, slots=True)
class Table:
    """A partition's table and the statements on it; `end` is the writer's own."""

    topic: Topic
    partition: int
    name: str = field(init=False)
    inserts: tuple[tuple[int, str], ...] = field(init=False)
    select: str = field(init=False)
    end: int = 0

    def __post_init__(self) -> None:
        self.name = f'"{self.topic.name}_{self.partition}"'
        verb = "INSERT OR REPLACE" if self.topic.compacted else "INSERT"
        self.inserts = tuple(
            (rows, f"{verb} INTO {self.name} VALUES {', '.join([ROW] * rows)}")
            for rows in ROWS_A_STATEMENT
        )
        self.select = (
            f"SELECT offset, at_ms, key, crc, value FROM {self.name} "  # noqa: S608
            "WHERE offset >= ? AND offset < ? ORDER BY offset LIMIT ?"
        )

    @property
    def create(self) -> str:
        """The statement that makes it."""
        unique = " UNIQUE" if self.topic.compacted else ""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} (offset INTEGER PRIMARY KEY, "
            f"at_ms INTEGER NOT NULL, key BLOB NOT NULL{unique}, "
            "crc INTEGER NOT NULL, value BLOB)"
        )


Tables = dict[tuple[str, int], Table]


def tables_of(topics: Iterable[Topic]) -> Tables:
    """The tables of topics."""
    return {
        (topic.name, partition): Table(topic, partition)
        for topic in topics
        for partition in range(topic.partitions)
    }


def lock(directory: Path) -> int:
    """Make the directory this process's alone; the lock lives as long as the descriptor.

    Raises BadConfiguration.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise BadConfiguration(
            f"the data directory {directory} cannot be used: {error.strerror}. "
            "Make it writable, or choose another with --data."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise BadConfiguration(
            f"another Hookline (process {owner or 'unknown'}) is running on the data "
            f"directory {directory}: stop it, or choose another with --data."
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


class Store:
    """One connection: the writer's, or with `read_only` the reader's."""

    def __init__(
        self,
        directory: Path,
        tables: Tables,
        *,
        vfs: str | None = None,
        read_only: bool = False,
    ) -> None:
        self._path = directory / FILE_NAME
        self._tables = tables
        self._vfs = vfs
        self._read_only = read_only
        self._wal_pages = 0
        self._passive_at = PASSIVE_PAGES
        self._bounded = BoundedTables()
        self._connection = self._open()

    def reopen(self) -> None:
        """Begin anew after an I/O error; a failed sync is never tried again."""
        self.close()
        self._connection = self._open()

    def close(self) -> None:
        """Close the connection; the file is whole at any moment."""
        try:
            self._connection.close()
        except apsw.Error:
            # It says that a last checkpoint has failed; the WAL has it all.
            self._connection.close(True)  # noqa: FBT003 - apsw's own signature

    def check(self) -> None:
        """Read the file through. Raises BadConfiguration where it is damaged."""
        found = self._connection.execute("PRAGMA quick_check").fetchall()
        if found != [("ok",)]:
            raise BadConfiguration(
                f"{self._path} is damaged: {found[0][0]}. Restore it from a backup, or "
                "choose another directory with --data."
            )

    def write(
        self,
        rows: Sequence[tuple[Table, bytes, bytes | None]],
        operations: Sequence[Operation],
    ) -> tuple[list[int], int, list[Any]]:
        """Append rows and carry out operations, all or nothing, durable on return.

        Gives the rows' offsets, their time, and the operations' results.
        """
        now_ms = time.time_ns() // 1_000_000
        ends = {table: table.end for table, _, _ in rows}
        offsets: list[int] = []
        by_table: dict[Table, list[Any]] = {table: [] for table in ends}
        for table, key, value in rows:
            offset = ends[table]
            ends[table] = offset + 1
            offsets.append(offset)
            crc = zlib.crc32(value or b"")
            by_table[table] += (offset, now_ms, key, crc, value)
        results = self._transaction(by_table, operations, now_ms)
        for table, end in ends.items():
            table.end = end
        return offsets, now_ms, results

    def _transaction(
        self,
        by_table: dict[Table, list[Any]],
        operations: Sequence[Operation],
        now_ms: int,
    ) -> list[Any]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table, values in by_table.items():
                _insert(connection, table, values)
            held = self._bounded.forget(connection, by_table, now_ms)
            results = [operation(connection) for operation in operations]
            connection.execute("COMMIT")
        except apsw.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._bounded.settle(held)
        return results

    def checkpoint_if_due(self) -> None:
        """Move what is in the WAL into the file when there is much of it.

        Raises apsw.IOError and its like: then the connection is not to be used again.
        """
        if self._wal_pages >= RESTART_PAGES:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART)
            self._passive_at = PASSIVE_PAGES
        elif self._wal_pages >= self._passive_at:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._passive_at = self._wal_pages + PASSIVE_PAGES

    def _checkpoint(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.LockedError):
            return  # a reader is in the way; the next commit comes back to it
        if mode == apsw.SQLITE_CHECKPOINT_RESTART:
            self._wal_pages = 0

    def read(self, table: Table, start: int, end: int, limit: int) -> list[Record]:
        """At most `limit` records with start <= offset < end. Raises CorruptRecord.

        Fewer where they are large: beyond `READ_BYTES` no further one is read.
        """
        partition = table.partition
        records = []
        size = 0
        found = self._connection.execute(table.select, (start, end, limit))
        try:
            for offset, at_ms, key, crc, value in found:
                if zlib.crc32(value or b"") != crc:
                    raise CorruptRecord(table, offset)
                records.append(Record(partition, offset, at_ms, key, value))
                size += len(value or b"")
                if size >= READ_BYTES:
                    break
        finally:
            found.close(True)  # noqa: FBT003 - apsw's own signature
        return records

    def bounds(self, table: Table) -> Bounds:
        """Where a partition starts and ends."""
        # Each by itself is a look at the index, both at once a walk through the table.
        [(first, last)] = self._ask(
            f"SELECT (SELECT min(offset) FROM {table.name}), "  # noqa: S608
            f"(SELECT max(offset) FROM {table.name})"
        )
        marks = self._ask(
            "SELECT next FROM marks WHERE topic = ? AND partition = ?",
            (table.topic.name, table.partition),
        )
        mark = marks[0][0] if marks else 0
        if last is None:
            return Bounds(mark, mark)
        return Bounds(first, max(last + 1, mark))

    def committed(self, group: str, table: Table) -> Commit | None:
        """A group's last commit."""
        found = self._ask(
            "SELECT next, metadata FROM commits "
            "WHERE grp = ? AND topic = ? AND partition = ?",
            (group, table.topic.name, table.partition),
        )
        return Commit(*found[0]) if found else None

    def _ask(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(question, values).fetchall()

    def _open(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE
        if not self._read_only:
            flags |= apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(
            str(self._path),
            flags=flags,
            vfs=self._vfs,
            statementcachesize=6 * len(self._tables) + 64,
        )
        try:
            connection.set_busy_timeout(BUSY_MS)
            if self._read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                self._prepare(connection)
        except BaseException:
            connection.close(True)  # noqa: FBT003 - apsw's own signature
            raise
        return connection

    def _prepare(self, connection: apsw.Connection) -> None:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Before the first write: what a crash has left in the WAL, perhaps never synced,
        # goes into the file. Without this, accepted rows are lost by a power cut later.
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
        connection.set_wal_hook(self._note_pages)
        self._path.chmod(0o600)
        with connection:
            _create(connection, self._tables)
            now_ms = time.time_ns() // 1_000_000
            self._bounded.load(connection, list(self._tables.values()), now_ms)
        self._connection = connection
        for table in self._tables.values():
            table.end = self.bounds(table).end

    def _note_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        if pages < self._passive_at - PASSIVE_PAGES:
            self._passive_at = PASSIVE_PAGES
        return apsw.SQLITE_OK


def _insert(connection: apsw.Connection, table: Table, values: list[Any]) -> None:
    """Insert rows, given as one flat list of their columns."""
    done = 0
    for rows, statement in table.inserts:
        width = rows * COLUMNS
        while len(values) - done >= width:
            connection.execute(statement, values[done : done + width])
            done += width


def _create(connection: apsw.Connection, tables: Tables) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, "
        "partitions INTEGER NOT NULL, compacted INTEGER NOT NULL)"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS marks (topic TEXT, partition INTEGER, "
        "next INTEGER NOT NULL, PRIMARY KEY (topic, partition))"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS commits (grp TEXT, topic TEXT, partition INTEGER, "
        "next INTEGER NOT NULL, metadata TEXT NOT NULL, "
        "PRIMARY KEY (grp, topic, partition))"
    )
    for topic in {table.topic for table in tables.values()}:
        _declare(connection, topic)
    for table in tables.values():
        connection.execute(table.create)


def _declare(connection: apsw.Connection, topic: Topic) -> None:
    found = connection.execute(
        "SELECT partitions, compacted FROM topics WHERE name = ?", (topic.name,)
    ).fetchall()
    if not found:
        connection.execute(
            "INSERT INTO topics VALUES (?, ?, ?)",
            (topic.name, topic.partitions, topic.compacted),
        )
    elif found[0] != (topic.partitions, int(topic.compacted)):
        raise BadConfiguration(
            f"the log has {found[0][0]} partitions in the topic {topic.name}, and is "
            f"asked for {topic.partitions}: the number cannot change, for order hangs "
            f"on it. Set HOOKLINE_LOG__PARTITIONS={found[0][0]}."
        )


def keep_commit(group: str, table: Table, commit: Commit) -> Operation:
    """The operation that keeps a group's commit."""
    row = (group, table.topic.name, table.partition, commit.offset, commit.metadata)
    return lambda connection: connection.execute(
        "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?, ?)", row
    )


def trim_some(table: Table, before: int) -> Operation:
    """The operation that forgets some records before an offset; tells how many.

    As many as a transaction can without making appends wait: so many rows, or bytes.
    """

    def trim(connection: apsw.Connection) -> int:
        connection.execute(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)",
            (table.topic.name, table.partition, table.end),
        )
        last = _last_to_trim(connection, table, before)
        if last is None:
            return 0
        connection.execute(f"DELETE FROM {table.name} WHERE offset <= ?", (last,))  # noqa: S608
        return connection.changes()

    return trim


def _last_to_trim(connection: apsw.Connection, table: Table, before: int) -> int | None:
    last: int | None = None
    size = 0
    for offset, length in connection.execute(
        f"SELECT offset, length(value) FROM {table.name} "  # noqa: S608
        f"WHERE offset < ? ORDER BY offset LIMIT {TRIM_ROWS}",
        (before,),
    ):
        last = offset
        size += length or 0
        if size >= TRIM_BYTES:
            break
    return last
