"""Beside stop 5: the idempotency keys that this router has seen, as long as it has room.

Only requests that passed every check are looked up, and only what is durable is
remembered: while the first append of a key is on its way, a repeat waits for the same
outcome. What is not remembered is appended once more, and the executor drops it. About
170 bytes a key.
"""

import time
from asyncio import Future, get_running_loop
from enum import Enum, auto
from functools import partial
from typing import Final, NamedTuple

from hookline.generations import Generations
from hookline.log import Position
from services.router.keys import DIGEST_BYTES, Key

MOST: Final = 100_000
ID_BYTES: Final = 12
MICROSECONDS: Final = 1_000_000
OTHER_BODY: Final = (
    "This idempotency key was used for another body: send a new key with a new body, or "
    "the same body again."
)


class Repeats(Enum):
    """What a request repeats."""

    SAME_BODY = auto()
    OTHER_BODY = auto()


class Known(NamedTuple):
    """That a request is a repeat, and when the event that it repeats is durable."""

    repeats: Repeats
    position: Future[Position] | None


class _Flight(NamedTuple):
    body_hash: bytes
    position: Future[Position]


class RememberedKeys:
    """What is known of keys; each by the id of its event."""

    def __init__(self, most: int = MOST) -> None:
        # The end of its window, and the hash of its body.
        self._known: Generations[bytes, bytes] = Generations(most)
        self._flying: dict[bytes, _Flight] = {}

    def find(self, key: Key) -> Known | None:
        """What a request with this key repeats, if that is known here."""
        name = _name_of(key)
        if flight := self._flying.get(name):
            return Known(_compared(key, flight.body_hash), flight.position)
        known = self._known.get(name)
        if known is None or int.from_bytes(known[DIGEST_BYTES:], "big") < _now_us():
            return None
        return Known(_compared(key, known[:DIGEST_BYTES]), None)

    def begin(self, key: Key, accepted_at_us: int, position: Future[Position]) -> None:
        """The first request with this key is on its way to the log."""
        name = _name_of(key)
        self._flying[name] = _Flight(key.body_hash, position)
        ends_us = accepted_at_us + key.window_s * MICROSECONDS
        known = key.body_hash + ends_us.to_bytes(8, "big")
        position.add_done_callback(partial(self._settle, name, known))

    def _settle(self, name: bytes, known: bytes, position: Future[Position]) -> None:
        del self._flying[name]
        if not position.cancelled() and position.exception() is None:
            self._known.put(name, known)


def follow(first: Future[Position] | None) -> Future[Position | None]:
    """A future of one's own that comes to the same: who gives it up takes no other along.

    Done at once where there is nothing to wait for.
    """
    own: Future[Position | None] = get_running_loop().create_future()
    if first is None:
        own.set_result(None)
    else:
        first.add_done_callback(partial(_hand_on, own))
    return own


def _hand_on(own: Future[Position | None], first: Future[Position]) -> None:
    if own.done():
        return
    if first.cancelled():
        own.cancel()
    elif error := first.exception():
        own.set_exception(error)
    else:
        own.set_result(first.result())


def _name_of(key: Key) -> bytes:
    return bytes.fromhex(key.event_id.replace("-", ""))[-ID_BYTES:]


def _compared(key: Key, body_hash: bytes) -> Repeats:
    return Repeats.SAME_BODY if key.body_hash == body_hash else Repeats.OTHER_BODY


def _now_us() -> int:
    return time.time_ns() // 1000
