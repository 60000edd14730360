"""Stop 9, what the commit passes: events that have not ended, once the journal has them.

An event that rests, runs for long or is far behind would hold its partition's commit. So
the journal is told of it, by lane and offset, and when that is durable the commit goes
past it: whoever has the partition next finds it there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from hookline.v1 import execution_pb2
from services.executor.held import Held
from services.executor.lane import Lane
from services.executor.watermark import Watermark

PART_BYTES: Final = 256 * 1024
OFFSET_BYTES: Final = 5
LANE_BYTES: Final = 80


class Passing(NamedTuple):
    """Events of a lane that the journal is to have before the commit passes them."""

    lane: Lane
    offsets: Sequence[int]


class Passed:
    """How far the commit may go, and what is to be passed for it to go further.

    Of a lane the journal always has all up to an offset: `Lane.passed`.
    """

    def __init__(
        self,
        lanes: Mapping[bytes, Lane],
        most_behind: int,
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        self._lanes = lanes
        self._on_taken = on_taken
        self._most_behind = most_behind
        self.watermark = Watermark()
        self.held = Held(self.watermark)
        # How many the journal has as passed that have not ended.
        self.count = 0
        self.parked: set[Lane] = set()

    @property
    def is_behind(self) -> bool:
        """Whether the commit stands so far behind that what holds it should be passed.

        In events, or in time.
        """
        return self.watermark.span >= self._most_behind or self.held.is_too_long()

    def due(self) -> list[Passing]:
        """What the journal should have: all that is parked, and what holds the commit."""
        lanes, self.parked = self.parked, set()
        if self.is_behind:
            through = self._through()
            lanes.update(
                lane for lane in self._lanes.values() if lane.holds_before(through)
            )
        found = [Passing(lane, lane.unpassed()) for lane in lanes]
        return [passing for passing in found if passing.offsets]

    def _through(self) -> int:
        """How far the commit is to come."""
        through = self.held.through if self.held.is_too_long() else 0
        if self.watermark.span >= self._most_behind:
            return max(through, self.watermark.middle)
        return through

    def take(self, passing: Sequence[Passing]) -> None:
        """The journal has them, durably; some may have ended meanwhile."""
        for lane, offsets in passing:
            through = offsets[-1]
            for offset in lane.unpassed():
                if offset > through:
                    break
                self.watermark.pass_by(offset)
                self.count += 1
            lane.passed = through
        self._on_taken()

    def finish(self, lane: Lane, offset: int) -> bool:
        """An event has ended durably; tells whether there is something to commit."""
        moved = self.watermark.finish(offset)
        if offset > lane.passed:
            return moved
        self.count -= 1
        return moved or not self.count

    def all(self) -> Iterator[tuple[bytes, Sequence[int]]]:
        """All that the journal has as passed and that has not ended, by lane."""
        for lane in list(self._lanes.values()):
            if offsets := lane.passed_offsets():
                yield lane.key, offsets


def in_parts(
    lanes: Iterable[tuple[bytes, Sequence[int]]], part_bytes: int = PART_BYTES
) -> Iterator[execution_pb2.PassedEvents]:
    """Offsets by lane as messages, none of them much larger than that."""
    part = execution_pb2.PassedEvents()
    left = part_bytes
    for key, offsets in lanes:
        start = 0
        while start < len(offsets):
            some = offsets[start : start + max(1, (left - LANE_BYTES) // OFFSET_BYTES)]
            distances = [some[0], *(after - one for one, after in pairwise(some))]
            part.lanes.add(key=key, distances=distances)
            start += len(some)
            left -= LANE_BYTES + len(some) * OFFSET_BYTES
            if left <= LANE_BYTES:
                yield part
                part, left = execution_pb2.PassedEvents(), part_bytes
    if part.lanes:
        yield part


def offsets_of(lane: execution_pb2.PassedLane) -> Iterator[int]:
    """The offsets that a message names."""
    return accumulate(lane.distances)
