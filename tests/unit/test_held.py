"""How long a commit is held, on a clock of the test's own."""

from dataclasses import dataclass

from hookline.log import Record
from services.executor.held import MOST_HELD_S, Held
from services.executor.lane import Lane
from services.executor.passing import Passed
from services.executor.watermark import Watermark


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def record(offset: int, at_s: float = 0.0) -> Record:
    return Record(0, offset, int(at_s * 1000), b"flow", b"")


def opened(watermark: Watermark, held: Held, offset: int, at_s: float = 0.0) -> None:
    held.read(record(offset, at_s))
    watermark.open(offset)


def test_what_has_not_ended_for_long_is_to_be_passed_and_what_is_young_is_not() -> None:
    clock, watermark = Clock(), Watermark()
    held = Held(watermark, clock)
    for offset in range(20):
        opened(watermark, held, offset)
        clock.now_s += 1

    assert held.is_too_long()
    assert held.through == 16  # what was read less than five seconds ago may hold it


def test_it_counts_from_the_first_that_the_commit_waits_for() -> None:
    clock, watermark = Clock(), Watermark()
    held = Held(watermark, clock)
    opened(watermark, held, 7)
    clock.now_s += MOST_HELD_S - 1
    opened(watermark, held, 8)
    assert not held.is_too_long()
    watermark.finish(7)
    clock.now_s += 1
    assert not held.is_too_long()
    clock.now_s += MOST_HELD_S
    assert held.is_too_long()
    watermark.finish(8)
    assert not held.is_too_long()


def test_what_comes_after_a_long_silence_is_young() -> None:
    clock, watermark = Clock(), Watermark()
    held = Held(watermark, clock)
    opened(watermark, held, 1)
    watermark.finish(1)
    clock.now_s += 1000
    opened(watermark, held, 2)
    assert not held.is_too_long()


def test_the_age_is_that_of_the_record_in_the_log() -> None:
    clock, watermark = Clock(), Watermark()
    held = Held(watermark, clock)
    assert held.age_s(50.0) == 0
    opened(watermark, held, 1, at_s=10.0)
    assert held.age_s(50.0) == 40
    watermark.finish(1)
    assert held.age_s(50.0) == 0


def test_a_slow_lane_is_passed_in_time_and_others_are_left_alone() -> None:
    """However few its events are: the commit goes on behind it."""
    clock = Clock()
    slow, quick = Lane(b"slow"), Lane(b"quick")
    passed = Passed({b"slow": slow, b"quick": quick}, 1000)
    passed.held = Held(passed.watermark, clock)
    for offset, lane in ((0, slow), (1, slow), (2, quick)):
        opened(passed.watermark, passed.held, offset)
        lane.append(offset)
    quick.end(2)
    passed.finish(quick, 2)
    clock.now_s += MOST_HELD_S
    opened(passed.watermark, passed.held, 3)
    quick.append(3)

    assert passed.is_behind
    due = passed.due()
    assert [(one.lane, list(one.offsets)) for one in due] == [(slow, [0, 1])]
    passed.take(due)

    assert passed.watermark.commit_offset == 3
    assert not passed.is_behind
