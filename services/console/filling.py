"""Makes rows of the index from records, and keeps how far that was with them. Blocks."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from hookline.claims import Fence
from hookline.log import Record
from hookline.topics import Topics
from services.console.index_file import At, IndexFile, Key
from services.console.index_rows import Rows

# The interpreter is let go of so often: whoever answers callers is not kept waiting.
RECORDS_A_TURN: Final = 32
TURN_PAUSE_S: Final = 0.0002
Read = list[tuple[Key, Sequence[Record]]]


class Filling:
    """What is read of topics becomes rows, all of a batch in one transaction.

    Of each partition of a topic the records come in their order, from `next` on; which
    partition, and which topic, is next does not matter.
    """

    def __init__(self, index: IndexFile, topics: Topics) -> None:
        self._index = index
        self._topics = topics
        self._positions: dict[Key, At] = {}

    def begin(self) -> Mapping[Key, At]:
        """Go on from where the index is; gives where that is."""
        self._positions = self._index.positions()
        return self._positions

    def begin_anew(self) -> None:
        """Forget all rows, and begin at the topics' starts."""
        self._index.clear()
        self._positions = {}

    def next(self, key: Key) -> int:
        """The offset of a partition's next record."""
        return self._positions.get(key, At()).next

    def take(self, read: Read, starts: Mapping[int, int]) -> None:
        """Take records in; `starts` are those of `events`, by partition.

        Raises Unavailable where nothing of it was written.
        """
        rows = Rows()
        moved: dict[Key, At] = {}
        for key, records in read:
            before = moved.get(key) or self._positions.get(key, At())
            fence = Fence(before.claim)
            for count, record in enumerate(records, 1):
                self._take(rows, key[0], record, fence)
                if count % RECORDS_A_TURN == 0:
                    time.sleep(TURN_PAUSE_S)
            moved[key] = At(records[-1].offset + 1, fence.claim)
        rows.forget_before(starts)
        self._index.write(rows, moved)
        self._positions |= moved

    def _take(self, rows: Rows, topic: str, record: Record, fence: Fence) -> None:
        if topic == self._topics.events.name:
            rows.take_event(record)
        elif topic == self._topics.executions.name:
            rows.take_entry(record, fence)
        else:
            rows.take_letter(record)
