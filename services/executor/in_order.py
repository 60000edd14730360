"""Stop 9, its order: what a lane writes is in the log in the order in which it wrote it.

Also where the log fails for a while. Of one key, what comes while something is on its way
waits, and goes together when that is durable; what failed goes again, alone and first. So
no end is kept for good before that of the event before it, which would run again behind
it if the process ended then.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from hookline.errors import Unavailable
from hookline.log import Log, Position, Topic

PAUSE_S: Final = 0.5
Durable = Callable[[Position], None]


class _Record:
    """A value, and who is told when it is durable."""

    __slots__ = ("durable", "value")

    def __init__(self, value: bytes, durable: Durable) -> None:
        self.value = value
        self.durable = durable


class _Row:
    """The records of one key that are not durable, in their order.

    What of `flying` is `unsettled` no more is gone, or has failed.
    """

    __slots__ = ("flying", "key", "unsettled", "waiting")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.flying: list[_Record] = []
        self.unsettled = 0
        self.waiting: list[_Record] = []


class InOrder:
    """Appends to one topic; tries until the log takes it."""

    def __init__(
        self,
        log: Log,
        topic: Topic,
        delayed: Callable[[Unavailable], None],
        *,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._log = log
        self._topic = topic
        self._delayed = delayed
        self._pause_s = pause_s
        self._rows: dict[bytes, _Row] = {}

    def append(self, key: bytes, value: bytes, durable: Durable) -> None:
        """Append behind all of the key before it; `durable` is called with its place."""
        record = _Record(value, durable)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row(key)
            self._send(row, [record])
        else:
            row.waiting.append(record)

    def _send(self, row: _Row, records: list[_Record]) -> None:
        row.flying = records
        row.unsettled = len(records)
        for record in records:
            appending = self._log.append(self._topic, row.key, record.value)
            appending.add_done_callback(partial(self._settle, row, record))

    def _settle(
        self, row: _Row, record: _Record, appended: "asyncio.Future[Position]"
    ) -> None:
        if appended.cancelled():
            return
        row.unsettled -= 1
        try:
            error = appended.exception()
            if isinstance(error, Unavailable):
                self._delayed(error)
                return
            row.flying.remove(record)
            if error is not None:
                raise error
            record.durable(appended.result())
        finally:
            if not row.unsettled:
                self._go_on(row)

    def _go_on(self, row: _Row) -> None:
        if row.flying:
            row.waiting[:0] = row.flying
            asyncio.get_running_loop().call_later(self._pause_s, self._send_first, row)
        elif row.waiting:
            waiting, row.waiting = row.waiting, []
            self._send(row, waiting)
        else:
            del self._rows[row.key]

    def _send_first(self, row: _Row) -> None:
        self._send(row, [row.waiting.pop(0)])
