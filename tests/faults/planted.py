"""Starts the product with a fault planted in it: what the checker has to catch.

`python planted.py FAULT …/hookline up …`; the fault is patched in, then the command runs.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Self

from hookline.log import Commit, Position, Record, Topic
from hookline.log.sqlite import SqliteAssignment, SqliteLog
from hookline.v1 import event_pb2
from services.executor.keys import Keys
from services.executor.lanes import Lanes
from services.router.receiver import Receiver
from services.router.remembered import RememberedKeys

LATE_S: Final = 0.3
FURTHER: Final = 5


def acknowledge_before(topic_name: str) -> None:
    """The log says that it has a record of this topic, and takes it a little later."""
    append = SqliteLog.append

    def early(
        self: SqliteLog, topic: Topic, key: bytes, value: bytes | None
    ) -> "asyncio.Future[Position]":
        if topic.name != topic_name:
            return append(self, topic, key, value)
        loop = asyncio.get_running_loop()
        loop.call_later(LATE_S, append, self, topic, key, value)
        done: asyncio.Future[Position] = loop.create_future()
        done.set_result(Position(0, 0))
        return done

    _patch(SqliteLog, "append", early)


def drop_letters() -> None:
    """Dead letters are acknowledged, and go nowhere."""
    append = SqliteLog.append

    def dropping(
        self: SqliteLog, topic: Topic, key: bytes, value: bytes | None
    ) -> "asyncio.Future[Position]":
        if topic.name != "dead_letters":
            return append(self, topic, key, value)
        done: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        done.set_result(Position(0, 0))
        return done

    _patch(SqliteLog, "append", dropping)


def commit_too_far() -> None:
    """The commit passes events that have not ended."""
    commit = SqliteAssignment.commit

    async def further(self: SqliteAssignment, one: Commit) -> None:
        await commit(self, Commit(one.offset + FURTHER, one.metadata))

    _patch(SqliteAssignment, "commit", further)


def send_again() -> None:
    """A request that was answered is handed in once more."""
    receive = Receiver.receive

    async def twice(self: Receiver, request: event_pb2.Request) -> event_pb2.Outcome:
        await receive(self, request)
        return await receive(self, request)

    _patch(Receiver, "receive", twice)


class HalfKey(bytes):
    """A flow id that is two different lanes' key."""

    half: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """The key of a record, its lane chosen by its offset."""
        key = cls(record.key)
        key.half = record.offset % 2
        return key

    def __eq__(self, other: object) -> bool:
        return bytes(self) == other and self.half == getattr(other, "half", None)

    def __hash__(self) -> int:
        return hash((bytes(self), self.half))


def run_two_at_once() -> None:
    """Each flow has two lanes."""
    add = Lanes.add

    def split(self: Lanes, records: Sequence[Record]) -> None:
        add(self, [record._replace(key=HalfKey.of(record)) for record in records])

    _patch(Lanes, "add", split)


def read_backwards() -> None:
    """What is read at once is run from its end on."""
    records = SqliteAssignment.records

    async def reversed_batches(
        self: SqliteAssignment,
    ) -> AsyncIterator[Sequence[Record]]:
        async for batch in records(self):
            yield batch[::-1]

    _patch(SqliteAssignment, "records", reversed_batches)


def _patch(kind: type, name: str, function: Callable[..., Any]) -> None:
    setattr(kind, name, function)


def forget_keys() -> None:
    """Nothing is a repeat: neither router nor executor remembers."""
    _patch(RememberedKeys, "find", lambda _self, _key: None)
    _patch(RememberedKeys, "begin", lambda _self, *_key: None)
    _patch(Keys, "read", lambda _self, _records: None)


PLANTED: Final[dict[str, Callable[[], None]]] = {
    "ack-before-append": lambda: acknowledge_before("events"),
    "commit-before-journal": lambda: acknowledge_before("executions"),
    "letters-dropped": drop_letters,
    "commit-too-far": commit_too_far,
    "sent-again": send_again,
    "two-at-once": run_two_at_once,
    "read-backwards": read_backwards,
    "dedupe-off": forget_keys,
}


def main() -> None:
    """Plant, then run the command."""
    _, fault, *sys.argv = sys.argv
    PLANTED[fault]()
    from hookline.cli import main as command

    command()


if __name__ == "__main__":
    main()
