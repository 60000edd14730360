"""Stop 5 on one machine: the log in a SQLite file.

Keeps the contract of `hookline.log` for one process: the group's only member has all
partitions. What was just committed reaches readers that stand at the end from memory;
the file is read only by those that are behind.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from os import close as close_descriptor
from pathlib import Path
from typing import Any, Final

import apsw

from hookline.errors import BadConfiguration, Error, NotAppended, Unavailable
from hookline.log import (
    CAUGHT_UP,
    Bounds,
    CaughtUp,
    Commit,
    Position,
    Record,
    Topic,
    partition_of,
)
from hookline.log.sqlite_store import (
    Store,
    Table,
    Tables,
    keep_commit,
    lock,
    tables_of,
    trim_some,
)
from hookline.log.sqlite_writer import Append, Change, Failed, Writer, Written
from hookline.telemetry import get_logger

BATCH: Final = 512
TAIL_RECORDS: Final = 4_096
TAIL_BYTES: Final = 4 * 1024 * 1024
OVERHEAD_BYTES: Final = 200
SWEEP_S: Final = 0.1
CLOSE_S: Final = 10.0
FOREVER: Final = 2**62
READ_PAUSE_S: Final = 0.5
TRIM_PAUSE_S: Final = 0.1
logger = get_logger(__name__)


class Tail:
    """What was committed while its reader stood at the end, bounded.

    While `live`, nothing is missing between the reader's place and the end but what is in
    the file already. Too much at once, or a reopened file, and the reader goes back to
    reading the file.
    """

    def __init__(self) -> None:
        self.live = False
        self.behind = True
        self._records: list[Record] = []
        self._bytes = 0
        self._news = asyncio.Event()

    def push(self, records: Sequence[Record]) -> None:
        """Add what was just committed."""
        if self.live:
            self._records += records
            self._bytes += sum(len(record.value or b"") for record in records)
            if len(self._records) > TAIL_RECORDS or self._bytes > TAIL_BYTES:
                self.drop()
        self._news.set()

    def take(self) -> list[Record]:
        """All there is, to be read now."""
        taken, self._records, self._bytes = self._records, [], 0
        return taken

    def drop(self) -> None:
        """Send the reader back to the file."""
        self.live = False
        self.take()
        self._news.set()

    async def wait(self) -> None:
        """Return when something may have come."""
        await self._news.wait()
        self._news.clear()


class SqliteAssignment:
    """A partition of the embedded log: owned until the log closes."""

    def __init__(self, log: "SqliteLog", group: str, table: Table) -> None:
        self._log = log
        self._group = group
        self._table = table
        self._released = False
        self.partition = table.partition
        self.committed: Commit | None = None

    async def records(self) -> AsyncIterator[Sequence[Record]]:
        """Batches from the commit on; ends when the log closes."""
        start = self.committed.offset if self.committed else 0
        async for batch in self._log.stream(self._table, start):
            if batch != CAUGHT_UP:
                yield batch

    def owned(self) -> bool:
        """Whether the partition is still ours."""
        return not self._released and not self._log.closing

    async def wait_ended(self) -> None:
        """Return when the log closes."""
        await self._log.wait_closed()

    async def commit(self, commit: Commit) -> None:
        """Keep how far the group has come, with the next transaction."""
        await self._log.change(keep_commit(self._group, self._table, commit))

    def release(self) -> None:
        """Nothing of it is running any more."""
        self._released = True


class SqliteLog:
    """The embedded log; made by `open_log`."""

    def __init__(
        self,
        store: Store,
        reader: Store,
        tables: Tables,
        *,
        append_deadline_s: float,
        most_pending_bytes: int,
    ) -> None:
        self._tables = tables
        self._reader = reader
        self._deadline_s = append_deadline_s
        self._most_pending_bytes = most_pending_bytes
        self._loop = asyncio.get_running_loop()
        self._reading = ThreadPoolExecutor(1, "log-reader")
        self._pending_bytes = 0
        self._overdue: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._tails: dict[Table, set[Tail]] = {}
        self._groups: set[tuple[str, str]] = set()
        self._closed = asyncio.Event()
        self._writer = Writer(store, self._written)
        self.closing = False

    @property
    def healthy(self) -> bool:
        """Whether the file takes what is written."""
        return self._writer.healthy and not self.closing

    def append(
        self, topic: Topic, key: bytes, value: bytes | None
    ) -> asyncio.Future[Position]:
        """One future a record; see the contract."""
        table = self._tables[topic.name, partition_of(key, topic.partitions)]
        future: asyncio.Future[Position] = self._loop.create_future()
        if self.closing or self._pending_bytes > self._most_pending_bytes:
            _fail(future, NotAppended("Too much waits for the log: try again later."))
            return future
        self._pending_bytes += len(value or b"") + OVERHEAD_BYTES
        self._overdue.append((self._loop.time() + self._deadline_s, future))
        self._writer.put(Append(table, key, value, future))
        return future

    def has_room(self, records: int, size: int) -> bool:
        """Whether so many records would be taken now."""
        needed = size + records * OVERHEAD_BYTES
        return self.healthy and self._pending_bytes + needed <= self._most_pending_bytes

    async def change(self, operation: Any) -> Any:
        """Carry an operation out in the writer's next transaction."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._overdue.append((self._loop.time() + self._deadline_s, future))
        self._writer.put(Change(operation, future))
        return await future

    async def assignments(
        self, topic: Topic, group: str
    ) -> AsyncIterator[SqliteAssignment]:
        """All partitions; then it waits until the log closes."""
        if (topic.name, group) in self._groups:
            raise Error(f"the group {group} reads {topic.name} already in this process")
        self._groups.add((topic.name, group))
        try:
            for partition in range(topic.partitions):
                table = self._tables[topic.name, partition]
                assignment = SqliteAssignment(self, group, table)
                assignment.committed = await self._read(
                    self._reader.committed, group, table
                )
                yield assignment
            await self._closed.wait()
        finally:
            self._groups.discard((topic.name, group))

    async def read(
        self, topic: Topic, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records that are durable now, in batches; no cursor stays open."""
        table = self._tables[topic.name, partition]
        while start < end:
            batch = await self._read(self._reader.read, table, start, end, BATCH)
            if not batch:
                return
            yield batch
            start = batch[-1].offset + 1

    async def follow(self, topic: Topic) -> AsyncIterator[Sequence[Record] | CaughtUp]:
        """All of a compacted topic, the mark, then what comes."""
        async for batch in self.stream(self._tables[topic.name, 0], 0):
            yield batch

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Where a partition starts and ends now."""
        table = self._tables[topic.name, partition]
        bounds: Bounds = await self._read(self._reader.bounds, table)
        return bounds

    async def trim(self, topic: Topic, before: Position) -> None:
        """Forget records, some at a time; between two times the writer rests from it.

        Freed pages are used again: the file stays as large as it has been.
        """
        table = self._tables[topic.name, before.partition]
        begun = self._loop.time()
        while await self.change(trim_some(table, before.offset)):
            await asyncio.sleep(min(self._loop.time() - begun, TRIM_PAUSE_S))
            begun = self._loop.time()

    async def stream(
        self, table: Table, start: int
    ) -> AsyncIterator[Sequence[Record] | CaughtUp]:
        """Records from an offset on, `CAUGHT_UP` once, until the log closes."""
        tail = Tail()
        self._tails.setdefault(table, set()).add(tail)
        caught_up = False
        try:
            while not self.closing:
                try:
                    batch = await self._next(table, tail, start)
                except Unavailable as error:
                    logger.warning("log.read_failed", error=str(error))
                    tail.drop()
                    await asyncio.sleep(READ_PAUSE_S)
                    continue
                if batch:
                    start = batch[-1].offset + 1
                    yield batch
                    continue
                if not caught_up:
                    caught_up = True
                    yield CAUGHT_UP
                if not self.closing:
                    await tail.wait()
        finally:
            self._tails[table].discard(tail)

    async def _next(self, table: Table, tail: Tail, start: int) -> Sequence[Record]:
        """The next batch; nothing at the end. The file first, then the tail."""
        if not tail.live:
            # From here on the tail misses nothing: what was committed before is in the
            # file, what is committed from now on is in the tail (or in both).
            tail.live = True
            tail.behind = True
        if tail.behind:
            batch: list[Record] = await self._read(
                self._reader.read, table, start, FOREVER, BATCH
            )
            if batch:
                return batch
            tail.behind = False
        taken = tail.take()
        if taken and taken[0].offset < start:
            return [record for record in taken if record.offset >= start]
        return taken

    async def _read(self, function: Any, *arguments: Any) -> Any:
        try:
            return await self._loop.run_in_executor(self._reading, function, *arguments)
        except apsw.Error as error:
            raise Unavailable(f"The log cannot be read now: {error}") from error

    def _written(self, outcome: Written | Failed) -> None:
        """One wake-up of the loop a commit."""
        for append in outcome.appends:
            self._pending_bytes -= len(append.value or b"") + OVERHEAD_BYTES
        if isinstance(outcome, Failed):
            self._failed(outcome)
            return
        fresh: dict[Table, list[Record]] = {}
        for append, offset in zip(outcome.appends, outcome.offsets, strict=True):
            table, key, value, future = append
            partition = table.partition
            if not future.done():
                future.set_result(Position(partition, offset))
            if self._tails.get(table):
                record = Record(partition, offset, outcome.at_ms, key, value)
                fresh.setdefault(table, []).append(record)
        for table, records in fresh.items():
            for tail in self._tails[table]:
                tail.push(records)
        for change, result in zip(outcome.changes, outcome.results, strict=True):
            if not change.future.done():
                change.future.set_result(result)

    def _failed(self, outcome: Failed) -> None:
        for append in outcome.appends:
            _fail(append.future, outcome.error)
        for change in outcome.changes:
            _fail(change.future, outcome.error)
        if outcome.reopened:
            # A commit that failed may have come back with the file.
            for tails in self._tails.values():
                for tail in tails:
                    tail.drop()

    async def fail_overdue(self) -> None:
        """Fail what has waited for longer than the deadline, until cancelled.

        Raises Error where the writer has ended by a fault: the process ends with it.
        """
        overdue = self._overdue
        while True:
            await asyncio.sleep(min(SWEEP_S, self._deadline_s / 4))
            if self._writer.ended and not self.closing:
                raise Error("the log's writer has ended; start again, nothing is lost")
            now = self._loop.time()
            while overdue and (overdue[0][1].done() or overdue[0][0] <= now):
                _fail(
                    overdue.popleft()[1],
                    Unavailable("The log did not take it in time: try again later."),
                )

    async def wait_closed(self) -> None:
        """Return when the log begins to close."""
        await self._closed.wait()

    async def close(self) -> None:
        """Write what is waiting, end the iterators, close the file."""
        self.closing = True
        self._closed.set()
        for tails in self._tails.values():
            for tail in tails:
                tail.drop()
        await self._loop.run_in_executor(None, self._writer.close, CLOSE_S)
        await self._loop.run_in_executor(self._reading, self._reader.close)
        self._reading.shutdown()


def _fail(future: "asyncio.Future[Any]", error: Unavailable) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever appended may have left; that is no news


@asynccontextmanager
async def open_log(
    directory: Path,
    topics: Iterable[Topic],
    *,
    append_deadline_s: float = 5.0,
    most_pending_bytes: int = 64 * 1024 * 1024,
    vfs: str | None = None,
) -> AsyncIterator[SqliteLog]:
    """Open the log in a directory, made where it is missing; this process's alone.

    Raises BadConfiguration where the directory cannot be used, is in use, is damaged, or
    has another number of partitions. Appends fail after `append_deadline_s`, and at once
    while `most_pending_bytes` are waiting.
    """
    tables = tables_of(topics)
    descriptor = lock(directory)
    try:
        store, reader = await asyncio.to_thread(_open_stores, directory, tables, vfs)
        log = SqliteLog(
            store,
            reader,
            tables,
            append_deadline_s=append_deadline_s,
            most_pending_bytes=most_pending_bytes,
        )
        async with asyncio.TaskGroup() as tasks:
            sweeper = tasks.create_task(log.fail_overdue())
            try:
                yield log
            finally:
                await log.close()
                sweeper.cancel()
    finally:
        close_descriptor(descriptor)


def _open_stores(
    directory: Path, tables: Tables, vfs: str | None
) -> tuple[Store, Store]:
    try:
        store = Store(directory, tables, vfs=vfs)
        store.check()
        return store, Store(directory, tables, read_only=True)
    except apsw.Error as error:
        raise BadConfiguration(
            f"the log in {directory} cannot be opened: {error}. Make the directory "
            "writable, or choose another with --data."
        ) from error
