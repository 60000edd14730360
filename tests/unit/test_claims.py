"""Claims: which records count, whoever writes what and when."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from hookline.claims import Claim, Fence
from hookline.log import partition_of
from hookline.v1 import execution_pb2
from services.executor.restore import key_in

Entry = execution_pb2.JournalEntry


def claim_entry(claim: Claim) -> Entry:
    return Entry(epoch=claim.epoch, owner=claim.owner, claim=execution_pb2.Claim())


def end_entry(claim: Claim) -> Entry:
    ended = execution_pb2.ExecutionEnded(status=execution_pb2.STATUS_COMPLETED)
    return Entry(epoch=claim.epoch, owner=claim.owner, ended=ended)


def admitted(entries: Sequence[Entry]) -> list[bool]:
    fence = Fence()
    return [fence.admits(entry) for entry in entries]


def test_what_stands_behind_a_higher_claim_does_not_count() -> None:
    """An owner of before may write as long as it likes."""
    old, new = Claim(1, 11), Claim(2, 22)

    assert admitted(
        [claim_entry(old), end_entry(old), claim_entry(new), end_entry(old)]
    ) == [True, True, True, False]


def test_of_equal_claims_the_first_wins() -> None:
    """The other's owner writes in vain, before and after its claim is read."""
    first, second = Claim(1, 11), Claim(1, 22)

    assert admitted(
        [claim_entry(first), claim_entry(second), end_entry(second), end_entry(first)]
    ) == [True, False, False, True]


def test_a_journal_from_before_claims_counts_until_the_first() -> None:
    """Its records carry no claim."""
    none = Claim(0, 0)

    assert admitted([end_entry(none), claim_entry(Claim(1, 1)), end_entry(none)]) == [
        True,
        True,
        False,
    ]


def test_a_stamp_gives_an_entry_its_claim() -> None:
    """The bytes of both, one after the other, are those of an entry that has both."""
    entry = Entry(event_id="e", ended=execution_pb2.ExecutionEnded(attempts=3))
    claim = Claim(7, 2**64 - 1)

    stamped = Entry.FromString(claim.stamp + entry.SerializeToString())

    assert Claim.of(stamped) == claim
    assert (stamped.event_id, stamped.ended.attempts) == ("e", 3)


@given(st.data())
def test_a_partition_has_a_key_of_its_own(data: st.DataObject) -> None:
    """What belongs to no flow is written to the partition that it is about."""
    partitions = data.draw(st.integers(1, 64))
    partition = data.draw(st.integers(0, partitions - 1))

    assert partition_of(key_in(partition, partitions), partitions) == partition
