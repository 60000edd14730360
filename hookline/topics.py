"""The topics of the log, by their names without the prefix.

events        an accepted request each; key: flow id; value: Event
executions    the journal, in its events' partitions; key: flow id; value: JournalEntry
              (claims and checkpoints speak of a partition: any key that is in it)
dead_letters  what failed for good, whole; key: flow id; value: DeadLetter
controls      what people decide about single events, in their events' partitions, bounded;
              key: flow id; value: Control
rejections    refused requests, bounded; key: flow id; value: RejectionRecord
flows         compacted; key "version/<id>/<n>/<random>": Flow; the first of each n counts
"""

from dataclasses import dataclass
from typing import Final, Self

from hookline.log import Bound, Topic

# A control that was asked for while no executor ran is carried out when one starts.
CONTROLS_BOUND: Final = Bound(most_bytes=256 * 1024 * 1024, most_age_s=30 * 86_400)
REJECTIONS_BOUND: Final = Bound(most_bytes=16 * 1024 * 1024, most_age_s=30 * 86_400)


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one installation."""

    events: Topic
    executions: Topic
    dead_letters: Topic
    controls: Topic
    rejections: Topic
    flows: Topic

    @classmethod
    def with_partitions(cls, partitions: int) -> Self:
        """The topics for a number of partitions; it caps the number of executors."""
        return cls(
            events=Topic("events", partitions),
            executions=Topic("executions", partitions),
            dead_letters=Topic("dead_letters", partitions),
            controls=Topic("controls", partitions, bound=CONTROLS_BOUND),
            rejections=Topic("rejections", partitions, bound=REJECTIONS_BOUND),
            flows=Topic("flows", 1, compacted=True),
        )

    @property
    def all(self) -> tuple[Topic, ...]:
        """Each of them."""
        return (
            self.events,
            self.executions,
            self.dead_letters,
            self.controls,
            self.rejections,
            self.flows,
        )
