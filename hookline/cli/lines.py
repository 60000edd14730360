"""What `hookline up` prints: one line an event, for a person or as JSON lines.

Writing happens in a thread of its own: a terminal that is held, or a pipe that nobody
reads, never holds the loop. What does not fit meanwhile is counted and left out.
"""

import threading
from collections import deque
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TextIO

import msgspec

from hookline.cli.event_rows import status_text
from hookline.v1 import event_pb2, execution_pb2

MOST_WAITING = 10_000
# Lines of that long are written together: to wake the thread for each one costs the loop
# more than the line does.
GATHER_S = 0.02
PREVIEW = 60
Ended = tuple[event_pb2.Event, execution_pb2.ExecutionEnded]


class EventLines:
    """Prints lines as events end."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.terminal = out.isatty()
        self._waiting: deque[Ended | str] = deque()
        self._left_out = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=1.0)

    def ended(
        self, event: event_pb2.Event, ended: execution_pb2.ExecutionEnded
    ) -> None:
        """Print the line of an event whose execution has ended."""
        self._put((event, ended))

    def say(self, text: str, **facts: Any) -> None:
        """Print a sentence on a terminal; elsewhere its facts, where there are any."""
        if self.terminal:
            self._put(text)
        elif facts:
            self._put(msgspec.json.encode(facts).decode())

    def _put(self, line: Ended | str) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._left_out += 1
            return
        self._waiting.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def _write(self) -> None:
        form = _for_people if self.terminal else _for_programs
        while True:
            self._wake.wait()
            self._closing.wait(GATHER_S)
            self._wake.clear()
            count = len(self._waiting)
            taken = [self._waiting.popleft() for _ in range(count)]
            lines = [one if isinstance(one, str) else form(*one) for one in taken]
            if left_out := self._left_out:
                self._left_out = 0
                lines.append(_left_out_line(left_out, terminal=self.terminal))
            try:
                self._out.write("".join(f"{line}\n" for line in lines))
                self._out.flush()
            except (OSError, ValueError):
                return  # nobody reads any more; the product goes on
            if self._closing.is_set() and not self._waiting:
                return


def _left_out_line(count: int, *, terminal: bool) -> str:
    if terminal:
        return f"… {count} more events (hookline events list shows all)"
    return f'{{"lines_left_out":{count}}}'


def _for_programs(event: event_pb2.Event, ended: execution_pb2.ExecutionEnded) -> str:
    line = {
        "event": event.id,
        "flow": event.flow_id,
        "status": status_text(ended.status),
        "accepted_at_us": event.accepted_at_us,
        "ms": (ended.ended_at_us - event.accepted_at_us) / 1000,
        "attempts": ended.attempts,
    }
    if ended.step:
        line["step"] = ended.step
    if ended.reason:
        line["reason"] = ended.reason
    return msgspec.json.encode(line).decode()


def _for_people(event: event_pb2.Event, ended: execution_pb2.ExecutionEnded) -> str:
    moment = datetime.fromtimestamp(ended.ended_at_us / 1e6, UTC).astimezone()
    took_ms = (ended.ended_at_us - event.accepted_at_us) / 1000
    status = status_text(ended.status)
    what = ended.reason or ended.result.decode(errors="replace")
    if ended.status == execution_pb2.STATUS_FILTERED:
        what = f"by {ended.step}"
    elif ended.step:
        what = f"at {ended.step}: {what}"
    what = what if len(what) <= PREVIEW * 2 else what[: PREVIEW * 2] + "…"
    return (
        f"{moment:%H:%M:%S}  {event.flow_id:<18} {status:<9} "
        f"{took_ms:>7.1f} ms  {event.id}  {_printable(what)}"
    )


def _printable(text: str) -> str:
    """The text in one line, without what could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
