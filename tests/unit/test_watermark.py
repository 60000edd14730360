"""The watermark: in whatever order events end, the commit passes nothing unfinished."""

from hypothesis import given
from hypothesis import strategies as st

from services.executor.watermark import Watermark


@given(st.data(), st.lists(st.integers(1, 3), min_size=1, max_size=30))
def test_the_commit_stands_at_the_lowest_unfinished_offset(
    data: st.DataObject, distances: list[int]
) -> None:
    """With gaps between offsets, opened and ended in turns; what is above it is told."""
    watermark = Watermark()
    coming = [sum(distances[: number + 1]) for number in range(len(distances))]
    opened: list[int] = []
    ended: set[int] = set()
    while coming or set(opened) - ended:
        unfinished = [offset for offset in opened if offset not in ended]
        if coming and (not unfinished or data.draw(st.booleans())):
            opened.append(coming.pop(0))
            watermark.open(opened[-1])
        else:
            ended.add(offset := data.draw(st.sampled_from(unfinished)))
            assert watermark.finish(offset) is (offset == unfinished[0])
        lowest = min(set(opened) - ended, default=opened[-1] + 1)
        assert watermark.commit_offset == lowest
        assert watermark.finished == {offset for offset in ended if offset > lowest}
