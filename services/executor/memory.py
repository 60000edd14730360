"""Stop 6, its bounds: what of a partition's events is in memory, and each lane's part."""

from collections.abc import Callable, Sized
from dataclasses import dataclass

from hookline.log import Record
from services.executor.lane import Lane


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one partition may have in memory, and one lane of it.

    `share_bytes` changes with the number of partitions that the executor has. A lane that
    rests for longer than `park_after_s` has at most its first event in memory.
    """

    share_bytes: Callable[[], int]
    events: int = 10_000
    lane_events: int = 1_000
    park_after_s: float = 5.0


class Memory:
    """Counts records from when they are loaded until they have ended, or are parked.

    `running` are the lanes that have something to run: the more, the less for each.
    """

    def __init__(self, bounds: Bounds, running: Sized) -> None:
        self._bounds = bounds
        self._running = running
        self._sizes: dict[int, int] = {}
        self._bytes = 0

    def take(self, lane: Lane, record: Record) -> None:
        """Load a record: the lane's next one."""
        size = self._sizes[record.offset] = len(record.value or b"")
        self._bytes += size
        lane.load(record, size)

    def leave(self, lane: Lane, offset: int) -> None:
        """It has ended, or is parked."""
        size = self._sizes.pop(offset, 0)
        self._bytes -= size
        lane.size -= size

    @property
    def is_full(self) -> bool:
        """Whether as much is in memory as may be."""
        bounds = self._bounds
        return len(self._sizes) >= bounds.events or self._bytes >= bounds.share_bytes()

    @property
    def is_half_free(self) -> bool:
        """Whether there is so much room that what rests for a while may stay."""
        bounds = self._bounds
        half_free = 2 * len(self._sizes) <= bounds.events
        return half_free and 2 * self._bytes <= bounds.share_bytes()

    def has_room(self, lane: Lane) -> bool:
        """Whether a lane may have one more record; the first one it always may."""
        if not lane.records:
            return True
        return len(lane.records) < self._most() and lane.size < self._most_bytes()

    def is_half_empty(self, lane: Lane) -> bool:
        """Whether it is time to read back more of a parked lane."""
        if not lane.records:
            return True
        most = min(lane.want, self._most())
        return 2 * len(lane.records) <= most and 2 * lane.size <= self._most_bytes()

    def keep(self, lane: Lane) -> int:
        """How many of its records a lane keeps where all is full; none while it rests."""
        if lane.rest is not None:
            return 0
        keep, most_bytes = min(len(lane.records), self._most()), self._most_bytes()
        if keep > 1 and lane.size > most_bytes:
            return max(1, keep * most_bytes // lane.size)
        return keep

    def _most(self) -> int:
        fair = self._bounds.events // (2 * max(1, len(self._running)))
        return max(1, min(self._bounds.lane_events, fair))

    def _most_bytes(self) -> int:
        return self._bounds.share_bytes() // max(4, 2 * len(self._running))
