"""Beside stop 6: which events are repeats, decided as they are read, from the log alone.

An event with an idempotency key has an id that is derived from it, so keys are told by the
ids of their events; all others are told by their own, which are in the log twice only
where a producer has written a record again. A repeat is one whose key an earlier record
had, whose window, counted from when that was accepted, has not passed.

What is decided follows from the records in their order and from nothing else. So whoever
goes on from the same rows at the same offset decides the same, and a record that is read
again is not decided again: below `covers` it is a repeat if it is known as one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate, chain, islice, pairwise
from secrets import randbits
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from hookline.generations import Generations
from hookline.log import Record
from hookline.v1 import event_pb2, execution_pb2

# An event begins with its id: the field's tag, its length, 36 characters.
BEGINS: Final = b"\n$"
# Where its version stands; 8 is derived from a key.
VERSION: Final = slice(16, 17)
KEYED: Final = b"8"
# What of an id of version 7 is no time.
TAIL: Final = slice(20, 38)
ID_BYTES: Final = 18
NAME_BYTES: Final = 12
# Where the key was first, until when it counts (microseconds since 1970), whose body.
VALUE: Final = Struct(">qq8s")
ROW: Final = Struct(f"{NAME_BYTES}s{VALUE.size}s")
TAIL_ROW: Final = Struct(f"{ID_BYTES}s")
LENGTHS: Final = Struct(">QQQQ")
PART_BYTES: Final = 256 * 1024
REPEATS_A_PART: Final = 10_000
DIGEST_BYTES: Final = 8
ONCE_MORE: Final = -1
MOST_KEYS: Final = 500_000
MOST_IDS: Final = 32_768
MICROSECONDS: Final = 1_000_000
NOTHING: Final[frozenset[int]] = frozenset()


class Repeat(NamedTuple):
    """What an event repeats: the offset where that is, ONCE_MORE where it is itself."""

    first_offset: int
    conflict: bool


class Keys:
    """The keys of one partition, of the events before the offset `covers`.

    After a restore the journal knows which of the events before `decided_below` are
    repeats that have not ended, and which of those behind it have `ended`.
    """

    def __init__(
        self,
        covers: int = 0,
        *,
        decided_below: int = 0,
        ended: AbstractSet[int] = NOTHING,
        most_keys: int = MOST_KEYS,
        most_ids: int = MOST_IDS,
    ) -> None:
        self.covers = covers
        self._decided_below = decided_below
        self._ended = ended
        self.rows: Generations[bytes, bytes] = Generations(most_keys, self._forget)
        self.ids: Generations[bytes, None] = Generations(most_ids)
        # Decided and not ended.
        self.repeats: dict[int, Repeat] = {}
        # How many were forgotten before the end of their windows.
        self.on_forgotten: Callable[[int], None] = lambda _: None
        self._accepted_at_us = 0

    def begin_anew(self, covers: int) -> None:
        """Know nothing, of the events before this offset: before a load, or another try."""
        self.covers = covers
        for generations in (self.rows, self.ids):
            generations.clear()
        self.repeats.clear()

    def read(self, records: Sequence[Record]) -> None:
        """Decide about records that are read, in their order; those of before are known."""
        for record in records:
            if record.offset >= self.covers:
                self.covers = record.offset + 1
                repeat = self._decide(record.offset, record.value or b"")
                if repeat is not None and self._is_open(record.offset):
                    self.repeats[record.offset] = repeat

    def end(self, offset: int) -> None:
        """The end of an event is durable: it is not read again."""
        self.repeats.pop(offset, None)

    def _is_open(self, offset: int) -> bool:
        return offset >= self._decided_below and offset not in self._ended

    def _decide(self, offset: int, value: bytes) -> Repeat | None:
        if value[VERSION] != KEYED:
            if value[:2] != BEGINS:
                return None  # no event, which is told where it is run
            return self._decide_id(value[TAIL])
        return self._decide_key(offset, value)

    def _decide_id(self, name: bytes) -> Repeat | None:
        ids = self.ids
        if name in ids.newer or name in ids.older:
            return Repeat(ONCE_MORE, conflict=False)
        ids.put(name, None)
        return None

    def _decide_key(self, offset: int, value: bytes) -> Repeat | None:
        try:
            event = event_pb2.Event.FromString(value)
            name = bytes.fromhex(event.id.replace("-", ""))[-NAME_BYTES:]
        except (DecodeError, ValueError):
            return None
        digest = event.body_digest[:DIGEST_BYTES].ljust(DIGEST_BYTES, b"\0")
        accepted_at_us = event.accepted_at_us
        known = self.rows.get(name)
        if known is not None:
            first_offset, ends_us, first_digest = VALUE.unpack(known)
            if first_offset < offset and accepted_at_us <= ends_us:
                return Repeat(first_offset, digest != first_digest)
        self._accepted_at_us = accepted_at_us
        ends_us = accepted_at_us + event.dedupe_window_s * MICROSECONDS
        self.rows.put(name, VALUE.pack(offset, ends_us, digest))
        return None

    def _forget(self, rows: Mapping[bytes, bytes]) -> None:
        now_us = self._accepted_at_us
        early = sum(VALUE.unpack(value)[1] > now_us for value in rows.values())
        if early:
            self.on_forgotten(early)

    @property
    def size_bytes(self) -> int:
        """About how many bytes a snapshot has."""
        return len(self.rows) * ROW.size + len(self.ids) * ID_BYTES

    def snapshot(self) -> "Snapshot":
        """All keys as they are now; what they cover is where one goes on from them."""
        rows, ids = self.rows, self.ids
        pieces = [_packed(rows.older), _packed(rows.newer)]
        pieces += [b"".join(ids.older), b"".join(ids.newer)]
        lengths = LENGTHS.pack(*map(len, pieces))
        return Snapshot(randbits(63) or 1, self.covers, lengths + b"".join(pieces))

    def load(self, packed: bytes) -> None:
        """Know what a snapshot has; ValueError where it is none."""
        try:
            lengths = LENGTHS.unpack_from(packed)
            if LENGTHS.size + sum(lengths) != len(packed):
                raise ValueError("it is not whole")
            pieces = _cut(memoryview(packed)[LENGTHS.size :], lengths)
            self.rows.older, self.rows.newer = map(_unpacked, pieces[:2])
            self.ids.older, self.ids.newer = map(_ids_of, pieces[2:])
        except StructError as error:
            raise ValueError(str(error)) from error

    def checkpoint(self) -> Iterator[execution_pb2.Checkpoint]:
        """The repeats that have not ended, in parts."""
        repeats = iter(list(self.repeats.items()))
        while part := list(islice(repeats, REPEATS_A_PART)):
            yield execution_pb2.Checkpoint(
                repeats=execution_pb2.Repeats(
                    repeats=[
                        execution_pb2.Repeat(
                            event_offset=offset,
                            first_offset=repeat.first_offset,
                            conflict=repeat.conflict,
                        )
                        for offset, repeat in part
                    ]
                )
            )


class Snapshot(NamedTuple):
    """All keys of a partition at one moment, packed."""

    number: int
    covers: int
    packed: bytes

    def parts(self, part_bytes: int = PART_BYTES) -> Iterator[execution_pb2.Checkpoint]:
        """It as parts of a checkpoint."""
        starts = range(0, len(self.packed), part_bytes)
        for part, start in enumerate(starts):
            yield execution_pb2.Checkpoint(
                keys=execution_pb2.KeysPart(
                    number=self.number,
                    part=part,
                    parts=len(starts),
                    covers=self.covers,
                    rows=self.packed[start : start + part_bytes],
                )
            )


def _packed(rows: Mapping[bytes, bytes]) -> bytes:
    return b"".join(chain.from_iterable(rows.items()))


def _unpacked(piece: memoryview) -> dict[bytes, bytes]:
    return dict(ROW.iter_unpack(piece))


def _ids_of(piece: memoryview) -> dict[bytes, None]:
    return {name: None for (name,) in TAIL_ROW.iter_unpack(piece)}


def _cut(whole: memoryview, lengths: Sequence[int]) -> list[memoryview]:
    ends = list(accumulate(lengths, initial=0))
    return [whole[start:end] for start, end in pairwise(ends)]
