"""What a partition's journal says that is not over: the same however it was come by.

A pure state machine over journal records. A new owner makes it from a checkpoint and the
records behind it; an owner keeps it as it writes, to say it again in the next checkpoint.
Records that are there twice, and parts of checkpoints among other records, change nothing
that is known already: ends stay ends, and an execution's records have numbers.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Final

from hookline.claims import UNCLAIMED, Claim, Fence
from hookline.v1 import execution_pb2
from services.executor.progress import merge
from services.executor.taken_controls import TakenControls

PART_BYTES: Final = 256 * 1024
OFFSET_BYTES: Final = 5


class PartitionState:
    """Ends above the commit, and how far executions have come that have not ended."""

    def __init__(
        self,
        committed: int = 0,
        claim: Claim = UNCLAIMED,
        *,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._committed = committed
        self._part_bytes = part_bytes
        self.fence = Fence(claim)
        # Of events that are yet to be read again; whoever reads one takes it out.
        self.ended: set[int] = set()
        self.open: dict[int, execution_pb2.ExecutionProgress] = {}
        self.controls = TakenControls()
        # Records that stand before the part of a checkpoint that they go on from.
        self._early: dict[int, list[execution_pb2.ExecutionProgress]] = {}

    def take(self, entry: execution_pb2.JournalEntry) -> None:
        """The next record of the journal."""
        if not self.fence.admits(entry):
            return
        match entry.WhichOneof("entry"):
            case "ended":
                self._end(entry.event_offset)
            case "progress":
                self._move(entry.event_offset, entry.progress)
            case "checkpoint":
                self._take_part(entry.checkpoint)
            case "control":
                self.controls.take(entry.control)
                if entry.control.HasField("progress"):
                    self._move(entry.event_offset, entry.control.progress)

    def _take_part(self, checkpoint: execution_pb2.Checkpoint) -> None:
        match checkpoint.WhichOneof("section"):
            case "ended":
                offset = 0
                for distance in checkpoint.ended.distances:
                    offset += distance
                    self._end(offset)
            case "open":
                for one in checkpoint.open.executions:
                    known = self.open.get(one.event_offset)
                    if known is None or known.number < one.progress.number:
                        self._put(one.event_offset, one.progress)
            case "controls":
                self.controls.take_part(checkpoint.controls)

    def _end(self, offset: int) -> None:
        if offset >= self._committed:
            self.ended.add(offset)
            self.open.pop(offset, None)
            self._early.pop(offset, None)

    def _move(self, offset: int, change: execution_pb2.ExecutionProgress) -> None:
        known = self.open.get(offset)
        expected = (known.number if known else 0) + 1
        if change.number == expected:
            self._put(offset, merge(known, change))
        elif change.number > expected and self._counts(offset):
            self._early.setdefault(offset, []).append(change)

    def _put(self, offset: int, progress: execution_pb2.ExecutionProgress) -> None:
        if self._counts(offset):
            self.open[offset] = progress
            for change in self._early.pop(offset, ()):
                self._move(offset, change)

    def _counts(self, offset: int) -> bool:
        return offset >= self._committed and offset not in self.ended

    def move(self, offset: int, change: execution_pb2.ExecutionProgress) -> None:
        """An owner writes down how far an execution has come.

        It is known from here on, not from when it is durable: a checkpoint that says it
        says what is so.
        """
        self.open[offset] = merge(self.open.get(offset), change)

    def end(self, offset: int) -> None:
        """An end that an owner has written down is durable."""
        self.open.pop(offset, None)

    @property
    def committed(self) -> int:
        """Where the commit stood: the events from here on are read."""
        return self._committed

    def take_ended(self, offset: int) -> bool:
        """Whether an event that is read has ended already."""
        if offset not in self.ended:
            return False
        self.ended.remove(offset)
        return True

    def is_settled(self) -> bool:
        """Whether nothing is known but what the commit says."""
        return not self.ended and not self.open

    def checkpoint(self, ended: Iterable[int]) -> Iterator[execution_pb2.Checkpoint]:
        """All of it in parts; `ended` are ends above the commit that were read.

        Ends are those of now, executions are as they are when their part is asked for.
        """
        return chain(
            self._ended_parts(self.ended.union(ended)),
            self._open_parts(),
            self.controls.checkpoint(),
        )

    def _ended_parts(self, ended: set[int]) -> Iterator[execution_pb2.Checkpoint]:
        offsets = sorted(ended)
        most = self._part_bytes // OFFSET_BYTES
        for start in range(0, len(offsets), most):
            part = offsets[start : start + most]
            distances = [part[0], *(b - a for a, b in pairwise(part))]
            yield execution_pb2.Checkpoint(
                ended=execution_pb2.EndedEvents(distances=distances)
            )

    def _open_parts(self) -> Iterator[execution_pb2.Checkpoint]:
        part: list[execution_pb2.OpenExecution] = []
        size = 0
        for offset in list(self.open):
            progress = self.open.get(offset)
            if progress is None:
                continue  # it has ended while the parts before were written
            one = execution_pb2.OpenExecution(event_offset=offset, progress=progress)
            part.append(one)
            size += one.ByteSize()
            if size >= self._part_bytes:
                yield _open(part)
                part, size = [], 0
        if part:
            yield _open(part)


def _open(part: list[execution_pb2.OpenExecution]) -> execution_pb2.Checkpoint:
    return execution_pb2.Checkpoint(open=execution_pb2.OpenExecutions(executions=part))
