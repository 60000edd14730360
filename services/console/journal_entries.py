"""Journal entries as the history reads them: which count, and what they come to."""

from collections.abc import Iterable

from hookline.v1 import execution_pb2


class LastEntries:
    """The last entry of each of some events, from a journal that is read backwards.

    What stands behind a claim of a higher epoch does not count; the claim is met after
    it, and then it is given up again. Reading back to the time of the events meets the
    claim: an owner of before that still writes of an event has read it before it lost
    the partition.
    """

    def __init__(self, offsets: Iterable[int]) -> None:
        self._wanted = frozenset(offsets)
        self._found: dict[int, list[execution_pb2.JournalEntry]] = {}
        self._owners: dict[int, int] = {}

    def take(self, entry: execution_pb2.JournalEntry) -> None:
        """The entry before the one that was taken last."""
        if entry.HasField("claim"):
            self._owners[entry.epoch] = entry.owner  # of equal claims the first counts
            for offset, entries in self._found.items():
                counting = [one for one in entries if one.epoch >= entry.epoch]
                self._found[offset] = counting
        elif entry.event_offset in self._wanted and _speaks_of_event(entry):
            self._found.setdefault(entry.event_offset, []).append(entry)

    def of(self, offset: int) -> execution_pb2.JournalEntry | None:
        """The last entry of an event that counts; an end before all others."""
        entries = [
            one
            for one in self._found.get(offset, ())
            if self._owners.get(one.epoch, one.owner) == one.owner
        ]
        ends = [one for one in entries if one.HasField("ended")]
        return next(iter(ends or entries), None)


def _speaks_of_event(entry: execution_pb2.JournalEntry) -> bool:
    return entry.HasField("ended") or entry.HasField("progress")


def end_of(
    entry: execution_pb2.JournalEntry | None,
) -> execution_pb2.ExecutionEnded | None:
    """How an event has ended, or why it is held; nothing where it is under way."""
    if entry is None:
        return None
    if entry.HasField("ended"):
        return entry.ended
    if not (entry.HasField("progress") and entry.progress.HasField("held")):
        return None
    held = entry.progress.held
    return execution_pb2.ExecutionEnded(
        status=execution_pb2.STATUS_HELD,
        started_at_us=entry.progress.started_at_us,
        ended_at_us=held.held_at_us,
        attempts=held.attempts,
        step=held.step,
        reason=held.reason,
    )
