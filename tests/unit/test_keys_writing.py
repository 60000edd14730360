"""When the keys of a partition are written down again."""

from services.executor.keys import Keys
from services.executor.keys_restore import (
    FEWEST_EVENTS,
    KeysMark,
    KeysWriting,
)


def test_a_snapshot_is_due_after_many_events_or_a_long_time() -> None:
    """The events since the last one are not trimmed: they must not stay for ever."""
    now = [0.0]
    keys = Keys(0)
    writing = KeysWriting(keys, KeysMark(), 60.0, clock=lambda: now[0])

    now[0] = 60.0
    nothing_read = writing.is_due()
    keys.covers = 1
    after_long = writing.is_due()
    writing.written(keys.snapshot(), 5, 6)
    keys.covers = FEWEST_EVENTS
    few = writing.is_due()
    keys.covers = FEWEST_EVENTS + 1
    many = writing.is_due()

    assert (nothing_read, after_long, few, many) == (False, True, False, True)
