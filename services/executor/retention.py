"""What of a partition may be forgotten: what is past its time, and needed by nobody.

Nothing here reads a clock or the log. What is needed is what the last commit says that
was kept: whoever owns the partition next goes on from there.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from hookline.log import Commit
from services.executor.restore import bookmark_of

DAY_S: Final = 86_400.0
# What is past its time by so much of it goes: not each record by itself.
SLACK: Final = 0.001
# A body's name is older than its event by no more than this; it is above the longest that
# a body may take to arrive, and the clocks of two machines may differ in the rest.
BODY_MARGIN_S: Final = DAY_S


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long events, their ends and dead letters are kept; 0: for good."""

    events_s: float = 7 * DAY_S
    history_s: float = 7 * DAY_S
    dead_letters_s: float = 30 * DAY_S
    every_s: float = 60.0


class Needs(NamedTuple):
    """The lowest offsets that the next owner of a partition would read."""

    event: int
    journal: int


class Age(NamedTuple):
    """Records before `cutoff_ms` may go, once the oldest is before `due_ms`."""

    cutoff_ms: float
    due_ms: float


def needs_of(kept: Commit | None) -> Needs:
    """What a restore from a commit needs; without one it needs everything.

    Where its metadata names no place in the journal, all of the journal is read.
    """
    if kept is None:
        return Needs(0, 0)
    bookmark = bookmark_of(kept)
    if not bookmark.text:
        return Needs(0, 0)  # a person has set it: what it has passed is not known
    event, journal = kept.offset, bookmark.journal
    if bookmark.oldest is not None:
        event = min(event, bookmark.oldest)
    if (keys := bookmark.keys) is not None:
        event = min(event, keys.since)
        journal = min(journal, keys.begins) if keys.number else journal
    return Needs(event, journal)


def age_of(now_ms: float, retention_s: float) -> Age | None:
    """What is past its time now; None where everything is kept."""
    if retention_s <= 0:
        return None
    cutoff_ms = now_ms - retention_s * 1000
    return Age(cutoff_ms, cutoff_ms - retention_s * 1000 * SLACK)


def journal_age(age: Age | None, oldest_event_ms: float | None) -> Age | None:
    """An end is kept for as long as its event, for it is what is shown of it."""
    if age is None or oldest_event_ms is None or oldest_event_ms >= age.cutoff_ms:
        return age
    return Age(oldest_event_ms, min(oldest_event_ms, age.due_ms))


def bodies_before_ms(age: Age, oldest_ms: float | None) -> int:
    """Bodies that began to be written before this belong to nothing that is kept."""
    oldest_ms = age.cutoff_ms if oldest_ms is None else min(oldest_ms, age.cutoff_ms)
    return int(oldest_ms - BODY_MARGIN_S * 1000)
