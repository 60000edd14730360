"""Which controls of a partition were carried out: how far they were read, and the newest.

A control is carried out when its record in the journal is durable, and they are one after
another: so everything before `next_offset` was. One that is in the log twice is told by
its id, as long as that is among the newest.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from hookline.v1 import execution_pb2

REMEMBERED: Final = 1024


class TakenControls:
    """What a partition's journal says of controls."""

    def __init__(self, next_offset: int = 0) -> None:
        self.next_offset = next_offset
        self._ids: dict[str, None] = {}

    def take(self, control: execution_pb2.ControlTaken) -> None:
        """One was carried out, as its record says."""
        self._reach(control.control_offset + 1, (control.control_id,))

    def pass_by(self, start: int) -> None:
        """What stood before is forgotten: nobody can carry it out."""
        self._reach(start, ())

    def take_part(self, taken: execution_pb2.TakenControls) -> None:
        """What a checkpoint says; it may stand behind newer records."""
        known = list(self._ids)
        self._ids.clear()
        self._reach(taken.next_offset, (*taken.control_ids, *known))

    def has(self, control_id: str) -> bool:
        """Whether one with this id was carried out."""
        return control_id in self._ids

    def checkpoint(self) -> Iterator[execution_pb2.Checkpoint]:
        """It as a part of a checkpoint; nothing where there is nothing to say."""
        if self.next_offset:
            yield execution_pb2.Checkpoint(
                controls=execution_pb2.TakenControls(
                    next_offset=self.next_offset, control_ids=self._ids
                )
            )

    def _reach(self, next_offset: int, control_ids: Iterable[str]) -> None:
        self.next_offset = max(self.next_offset, next_offset)
        self._ids.update(dict.fromkeys(filter(None, control_ids)))
        while len(self._ids) > REMEMBERED:
            del self._ids[next(iter(self._ids))]
