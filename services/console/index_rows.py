"""What records say of events, as rows of the index: the same in whatever order read.

A row is made of facts, which stand in its event's record, and of how it stands, which
the journal says; either may come first. Of one partition's journal the records come in
their order; what stands behind a claim of somebody else does not count. Records that are
there twice change nothing: of an execution's records the one with the highest number
tells how it stands, an end before all of them, and of two ends the first.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from google.protobuf.message import DecodeError

from hookline.claims import Fence
from hookline.log import Record
from hookline.v1 import event_pb2, execution_pb2

OFFSET_BITS: Final = 48
ENDED_RANK: Final = 1 << 40
RESULT_BYTES: Final = 256
UUID_BYTES: Final = 16
UUID_FORM: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PENDING: Final = execution_pb2.STATUS_PENDING


def place_of(partition: int, offset: int) -> int:
    """A position of `events` as one number."""
    return partition << OFFSET_BITS | offset


def position_of(place: int) -> tuple[int, int]:
    """Partition and offset of a place."""
    return place >> OFFSET_BITS, place & (1 << OFFSET_BITS) - 1


def packed_id(event_id: str) -> bytes:
    """An event's id in as few bytes as it needs."""
    if UUID_FORM.fullmatch(event_id):
        return bytes.fromhex(event_id.replace("-", ""))
    return event_id.encode()


def unpacked_id(packed: bytes | None) -> str:
    """The id that was packed."""
    if not packed:
        return ""
    if len(packed) == UUID_BYTES:
        return str(UUID(bytes=packed))
    return packed.decode(errors="replace")


class Facts(NamedTuple):
    """What an event's own record says of it."""

    accepted_at_us: int
    flow_id: str
    flow_version: int
    event_id: bytes
    replayed: bytes | None


class Stand(NamedTuple):
    """How an execution stands, as one record of the journal has it.

    `ended_at_us` is when it was held where it is held. `next_at_us` is when the attempt
    after `attempt` is due. `end_offset` is where in the journal the end is.
    """

    rank: int
    status: int
    started_at_us: int
    ended_at_us: int = 0
    attempts: int = 0
    step: str = ""
    reason: str = ""
    result: bytes = b""
    attempt: int = 0
    next_at_us: int = 0
    end_offset: int | None = None


class Letter(NamedTuple):
    """A dead letter without its event; `offset` is its own."""

    offset: int
    event_id: bytes
    flow_id: str
    failed_at_us: int
    step: str
    reason: str
    attempts: int
    indeterminate: bool


@dataclass(slots=True)
class Rows:
    """What a batch of records changes, by the places of their events.

    `happened` are the offsets of the journal's records on the way to an end, by place.
    """

    facts: dict[int, Facts] = field(default_factory=dict)
    stands: dict[int, Stand] = field(default_factory=dict)
    letters: dict[int, Letter] = field(default_factory=dict)
    happened: set[tuple[int, int]] = field(default_factory=set)

    def take_event(self, record: Record) -> None:
        """A record of `events`; what is no event has no row but its dead letter."""
        try:
            event = event_pb2.Event.FromString(record.value or b"")
        except DecodeError:
            return
        self.facts[place_of(record.partition, record.offset)] = Facts(
            event.accepted_at_us,
            event.flow_id,
            event.flow_version,
            packed_id(event.id),
            packed_id(event.replayed) if event.replayed else None,
        )

    def take_entry(self, record: Record, fence: Fence) -> None:
        """The next record of a partition's journal."""
        try:
            entry = execution_pb2.JournalEntry.FromString(record.value or b"")
        except DecodeError:
            return
        if not fence.admits(entry):
            return
        place = place_of(record.partition, entry.event_offset)
        match entry.WhichOneof("entry"):
            case "ended":
                self._stand(place, _ended(entry.ended, record.offset))
            case "progress":
                self._stand(place, _under_way(entry.progress))
                self.happened.add((place, record.offset))
            case "control":
                if entry.control.HasField("progress"):
                    self._stand(place, _under_way(entry.control.progress))
                self.happened.add((place, record.offset))
            case "checkpoint":
                self._take_open(record.partition, entry.checkpoint.open.executions)

    def take_letter(self, record: Record) -> None:
        """A record of `dead_letters`; of letters of one event the first counts."""
        try:
            letter = execution_pb2.DeadLetter.FromString(record.value or b"")
        except DecodeError:
            return
        place = place_of(record.partition, letter.event_offset)
        flow_id = letter.event.flow_id or record.key.decode(errors="replace")
        kept = Letter(
            record.offset,
            packed_id(letter.event.id) if letter.event.id else b"",
            flow_id,
            letter.failed_at_us,
            letter.step,
            letter.reason,
            letter.attempts,
            letter.indeterminate,
        )
        self.letters.setdefault(place, kept)

    def _take_open(
        self, partition: int, executions: Iterable[execution_pb2.OpenExecution]
    ) -> None:
        for one in executions:
            self._stand(place_of(partition, one.event_offset), _under_way(one.progress))

    def _stand(self, place: int, stand: Stand) -> None:
        known = self.stands.get(place)
        if known is None or stand.rank > known.rank:
            self.stands[place] = stand

    def forget_before(self, starts: Mapping[int, int]) -> None:
        """Leave out what speaks of events that are gone, by partition."""
        for rows in (self.facts, self.stands):
            for place in [one for one in rows if _is_gone(one, starts)]:
                del rows[place]
        self.happened = {one for one in self.happened if not _is_gone(one[0], starts)}


def _is_gone(place: int, starts: Mapping[int, int]) -> bool:
    partition, offset = position_of(place)
    return offset < starts.get(partition, 0)


def _ended(ended: execution_pb2.ExecutionEnded, offset: int) -> Stand:
    return Stand(
        ENDED_RANK,
        ended.status,
        ended.started_at_us,
        ended.ended_at_us,
        ended.attempts,
        ended.step,
        ended.reason,
        ended.result[:RESULT_BYTES],
        end_offset=offset,
    )


def _under_way(progress: execution_pb2.ExecutionProgress) -> Stand:
    number, started, attempts = (
        progress.number,
        progress.started_at_us,
        progress.attempts,
    )
    match progress.WhichOneof("doing"):
        case "held":
            held = progress.held
            return Stand(
                number,
                execution_pb2.STATUS_HELD,
                started,
                held.held_at_us,
                held.attempts,
                held.step,
                held.reason,
            )
        case "failed":
            failed = progress.failed
            return Stand(
                number,
                PENDING,
                started,
                attempts=attempts + failed.attempt,
                step=failed.step,
                reason=failed.error,
                attempt=failed.attempt,
                next_at_us=failed.next_at_us,
            )
        case "started":
            return Stand(
                number, PENDING, started, attempts=attempts, step=progress.started.step
            )
        case _:
            return Stand(number, PENDING, started, attempts=attempts)
