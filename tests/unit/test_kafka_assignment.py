"""What one member of a group holds in memory of what it has read ahead."""

from hookline.log import Record
from hookline.log.kafka_assignment import (
    BATCH,
    BATCH_BYTES,
    FULL_BYTES,
    LARGEST_SHARE_BYTES,
    SMALLEST_SHARE_BYTES,
    batches_of,
    share_bytes,
)


def records(count: int, size: int) -> list[Record]:
    return [Record(0, offset, 0, b"flow", b"x" * size) for offset in range(count)]


def test_partitions_share_what_a_member_may_hold() -> None:
    """Twice the partitions, half of the share: large records fill no memory."""
    assert share_bytes(24) * 24 <= FULL_BYTES
    assert share_bytes(32) == share_bytes(16) // 2


def test_a_share_stays_within_sensible_bounds() -> None:
    """One partition does not need it all, and a thousand still go on."""
    assert share_bytes(0) == share_bytes(1) == LARGEST_SHARE_BYTES
    assert share_bytes(1_000) == SMALLEST_SHARE_BYTES


def test_batches_are_bounded_in_length_and_in_size() -> None:
    """Small records go by the thousand, large ones by their bytes; the order stays."""
    small, large = records(2 * BATCH + 1, 1), records(9, BATCH_BYTES // 2)
    assert [len(batch) for batch in batches_of(small)] == [BATCH, BATCH, 1]
    assert [len(batch) for batch in batches_of(large)] == [2, 2, 2, 2, 1]
    assert [one for batch in batches_of(large) for one in batch] == large


def test_a_record_larger_than_a_batch_goes_alone() -> None:
    """It is not held back, and takes nothing along."""
    found = batches_of([*records(1, 1), *records(1, 2 * BATCH_BYTES), *records(1, 1)])
    assert [len(batch) for batch in found] == [1, 1, 1]
