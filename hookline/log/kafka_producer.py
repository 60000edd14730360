"""Stop 5 on Kafka: kafka-python's producer, fitted to a loop that appends many at once.

What a turn of the loop appends goes to the client's thread together: as made, the client
wakes its thread at each first record of a batch, which then sends that one record alone
while the rest of the turn waits for the answer. Records are acknowledged as before.
"""

import asyncio
import threading
from typing import Any, Final, NamedTuple

from kafka import KafkaProducer, TopicPartition
from kafka.errors import MessageSizeTooLargeError
from kafka.net.compat import KafkaNetClient

# A record's own lengths and times, at most, in the client's format.
FRAMING_BYTES: Final = 128
REQUEST_BYTES: Final = 2 * 1024 * 1024


class Turn(NamedTuple):
    """A loop, and the thread in which it turns."""

    loop: asyncio.AbstractEventLoop
    thread: int


class Network(KafkaNetClient):  # type: ignore[misc] # untyped
    """The producer's network half; woken once a turn by its loop."""

    def __init__(self, turn: Turn, **settings: Any) -> None:
        self._turn = turn
        self._wake_is_due = False
        super().__init__(**settings)

    def wakeup(self) -> None:
        """Have the client's thread look for what is to be sent."""
        if threading.get_ident() != self._turn.thread:
            super().wakeup()
        elif not self._wake_is_due:
            self._wake_is_due = True
            self._turn.loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._wake_is_due = False
        super().wakeup()


class Producer(KafkaProducer):  # type: ignore[misc] # untyped
    """A producer of records whose partition is known; `put` is called on the loop.

    A request holds `REQUEST_BYTES`, or one larger record, and the client copies each
    request more than once: so what waits for a silent broker costs little more than its
    bytes.
    """

    def __init__(self, largest_record_bytes: int, **options: Any) -> None:
        self._largest = largest_record_bytes
        super().__init__(max_request_size=REQUEST_BYTES, **options)

    def put(self, place: TopicPartition, key: bytes, value: bytes | None) -> Any:
        """Hand a record over; gives its future. Raises KafkaError.

        `send` checks what is settled here (bytes, a partition, a topic that was loaded at
        the start) at the cost of all the rest; so this goes to the client's own buffer.
        """
        size = len(key) + len(value or b"") + FRAMING_BYTES
        if size > self._largest:
            raise MessageSizeTooLargeError
        future, is_full, is_new, _ = self._accumulator.append(
            place, None, key, value, []
        )
        if is_full or is_new:
            self._sender.wakeup()
        return future
