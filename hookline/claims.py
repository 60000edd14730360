"""Who owns a partition's journal: claims, and which records count after them.

An owner writes a claim before it starts anything. Its epoch is the highest that the
journal has, plus one; of two equal claims the first in the log wins. What an owner of
before writes after a later claim is in the log, and ignored by every reader: an executor
that was frozen, and wakes up, changes nothing that anybody believes.
"""

from dataclasses import dataclass
from secrets import randbits
from typing import NamedTuple, Self

from hookline.v1 import execution_pb2


class Claim(NamedTuple):
    """An epoch and whose it is; every journal record carries that of its writer."""

    epoch: int
    owner: int

    @classmethod
    def of(cls, entry: execution_pb2.JournalEntry) -> Self:
        """The claim under which a journal entry was written."""
        return cls(entry.epoch, entry.owner)

    @property
    def stamp(self) -> bytes:
        """It, as bytes that stand before those of any entry.

        Protobuf merges what is concatenated, so that no entry has to be given it.
        """
        return execution_pb2.JournalEntry(
            epoch=self.epoch, owner=self.owner
        ).SerializeToString()


# Of journals from before there were claims, and of a partition that nobody has claimed.
UNCLAIMED = Claim(0, 0)


@dataclass(slots=True)
class Fence:
    """The claim that holds at a place in the journal, read from its start on."""

    claim: Claim = UNCLAIMED

    def admits(self, entry: execution_pb2.JournalEntry) -> bool:
        """Whether the next record counts; a claim that wins holds from here on."""
        claim = Claim.of(entry)
        if claim.epoch > self.claim.epoch and entry.WhichOneof("entry") == "claim":
            self.claim = claim
        return claim == self.claim or claim.epoch > self.claim.epoch

    def next_for(self, owner: int) -> Claim:
        """The claim with which an owner takes over here."""
        return Claim(self.claim.epoch + 1, owner)


def new_owner() -> int:
    """A name that no other owner has."""
    return randbits(64) or 1
