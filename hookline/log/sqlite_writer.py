"""The embedded log's writer: one thread, the only one that writes and checkpoints.

A commit takes what has gathered during the one before it; there is no timer. The loop is
woken once for each commit.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import apsw

from hookline.errors import NotAppended, Unavailable
from hookline.log.sqlite_store import Operation, Store, Table
from hookline.telemetry import get_logger

MOST_ROWS: Final = 4_096
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
logger = get_logger(__name__)


class Append(NamedTuple):
    """A record on its way into a table."""

    table: Table
    key: bytes
    value: bytes | None
    future: "asyncio.Future[Any]"


class Change(NamedTuple):
    """Anything else that is written: a commit, a trim."""

    operation: Operation
    future: "asyncio.Future[Any]"


class Written(NamedTuple):
    """What a commit has made durable."""

    appends: Sequence[Append]
    offsets: Sequence[int]
    at_ms: int
    changes: Sequence[Change]
    results: Sequence[Any]


class Failed(NamedTuple):
    """What was in a commit that failed: unknown whether it is in the file."""

    appends: Sequence[Append]
    changes: Sequence[Change]
    error: Unavailable
    reopened: bool


class Writer:
    """The thread; `done` is called on the loop after each commit, well or badly ended."""

    def __init__(self, store: Store, done: Callable[[Written | Failed], None]) -> None:
        self._store = store
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Append | Change] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._broken = False
        self._pause_s = FIRST_PAUSE_S
        self._reopen_at = 0.0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, item: Append | Change) -> None:
        """Have it written with the next commit. Called on the loop only."""
        self._waiting.append(item)
        if not self._wake.is_set():
            self._wake.set()

    @property
    def healthy(self) -> bool:
        """Whether the file takes what is written; it is tried again where it does not."""
        return not self._broken and not self.ended

    @property
    def ended(self) -> bool:
        """Whether the thread has ended, as it does when closed, and else never should."""
        return not self._thread.is_alive()

    def close(self, timeout_s: float) -> bool:
        """Write what is waiting, then end; tells whether it did in time. Blocks."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            # Said here; who watches `ended` ends the process, and a start goes on.
            logger.exception("log.writer_ended")

    def _serve(self) -> None:
        while not (self._closing and not self._waiting):
            self._wake.wait(self._pause_s if self._broken else None)
            self._wake.clear()
            items = self._take()
            if self._broken and not self._reopen_if_due():
                # Nothing of them has reached the file.
                self._fail(items, NotAppended(_sentence("the disk does not answer")))
            elif items:
                self._write(items)
        self._store.close()

    def _take(self) -> list[Append | Change]:
        # The loop only ever adds at the right: so many are there for certain.
        count = min(len(self._waiting), MOST_ROWS)
        if count == MOST_ROWS:
            self._wake.set()
        return [self._waiting.popleft() for _ in range(count)]

    def _write(self, items: list[Append | Change]) -> None:
        appends = [item for item in items if isinstance(item, Append)]
        changes = [item for item in items if isinstance(item, Change)]
        rows = [(item.table, item.key, item.value) for item in appends]
        try:
            offsets, at_ms, results = self._store.write(
                rows, [change.operation for change in changes]
            )
        except apsw.Error as error:
            self._broken = not isinstance(error, apsw.FullError)
            self._fail(items, self._error(str(error)))
            return
        self._tell(Written(appends, offsets, at_ms, changes, results))
        self._checkpoint()

    def _checkpoint(self) -> None:
        try:
            self._store.checkpoint_if_due()
        except apsw.FullError as error:
            logger.warning("log.checkpoint_delayed", error=str(error))
        except apsw.Error as error:
            logger.warning("log.checkpoint_failed", error=str(error))
            self._broken = True

    def _reopen_if_due(self) -> bool:
        """Between two tries what comes fails at once, however much comes."""
        if time.monotonic() < self._reopen_at:
            return False
        try:
            self._store.reopen()
        except apsw.Error as error:
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
            self._reopen_at = time.monotonic() + self._pause_s
            logger.warning("log.reopen_failed", error=str(error))
            return False
        self._broken = False
        self._pause_s = FIRST_PAUSE_S
        self._tell(Failed((), (), self._error("reopened"), reopened=True))
        return True

    def _fail(self, items: list[Append | Change], error: Unavailable) -> None:
        appends = [item for item in items if isinstance(item, Append)]
        changes = [item for item in items if isinstance(item, Change)]
        self._tell(Failed(appends, changes, error, reopened=False))

    def _error(self, why: str) -> Unavailable:
        return Unavailable(_sentence(why))

    def _tell(self, outcome: Written | Failed) -> None:
        try:
            self._loop.call_soon_threadsafe(self._done, outcome)
        except RuntimeError:
            return  # the loop has ended; nobody waits any more


def _sentence(why: str) -> str:
    return f"The log cannot be written now ({why}): try again later."
