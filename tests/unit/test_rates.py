"""Token buckets: never more than a limit and what fills in a window, never less."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.errors import Overloaded
from hookline.sources import source_of
from services.router.rates import Bucket, Limits, Quota
from services.router.sources import Sources
from tests.clocks import Clock

PAUSES = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=300)


def take(bucket: Bucket) -> bool:
    if bucket.wait_s():
        return False
    bucket.take()
    return True


@given(pauses=PAUSES, limit=st.integers(1, 50), per_s=st.sampled_from([1, 60, 3600]))
def test_no_window_has_more_than_the_burst_and_what_fills_in_it(
    pauses: Sequence[float], limit: int, per_s: float
) -> None:
    """Between any two admissions there are at most limit + limit / per * time."""
    clock = Clock()
    bucket = Bucket(limit, per_s, clock)
    admitted = []
    for pause in pauses:
        clock.seconds += pause
        if take(bucket):
            admitted.append(clock.seconds)

    for first, begun in enumerate(admitted):
        for last in range(first, len(admitted)):
            window_s = admitted[last] - begun
            assert last - first + 1 <= limit + limit * window_s / per_s + 0.01


@given(limit=st.integers(1, 5000), per_s=st.sampled_from([1, 60, 3600]))
def test_a_limits_worth_may_come_at_once_and_one_more_when_it_says(
    limit: int, per_s: float
) -> None:
    """The whole limit, then none; after the wait that it names exactly one."""
    clock = Clock()
    bucket = Bucket(limit, per_s, clock)

    assert all(take(bucket) for _ in range(limit))
    assert not take(bucket)
    clock.seconds += bucket.wait_s()
    assert take(bucket)
    assert not take(bucket)


def test_it_fills_evenly_and_holds_no_more_than_the_limit() -> None:
    """Ten a second: half a second gives five, an hour gives ten."""
    clock = Clock()
    bucket = Bucket(10, 1.0, clock)
    bucket.take(10)

    assert bucket.left() == 0
    clock.seconds += 0.5
    assert bucket.left() == 5
    clock.seconds += 3600
    assert bucket.left() == 10


def test_what_is_more_than_a_bucket_holds_waits_for_a_full_one_and_is_owed() -> None:
    """A request of twice the limit's bytes passes once, and is paid off after."""
    clock = Clock()
    bucket = Bucket(100, 1.0, clock)

    assert bucket.wait_s(200) == 0
    bucket.take(200)
    assert bucket.wait_s(1) == pytest.approx(1.01)


def test_each_of_several_routers_gives_out_its_part() -> None:
    """Six a minute at three routers: two each, then one in half a minute."""
    quota = Quota("This flow", Limits(6, per_s=60), routers=3, now=Clock())
    quota.take(0)
    quota.take(0)

    with pytest.raises(Overloaded) as refused:
        quota.take(0)

    assert refused.value.retry_after_s == 30
    assert refused.value.limits == (
        ("RateLimit-Policy", '"requests";q=6;w=60'),
        ("RateLimit", '"requests";r=0;t=30'),
    )


def test_what_is_under_way_is_counted_until_it_is_done() -> None:
    """Two at once: the third comes in when one has left."""
    quota = Quota("This flow", Limits(in_flight=2))
    for _ in range(2):
        quota.take(0)
        quota.enter()

    with pytest.raises(Overloaded):
        quota.take(0)
    quota.leave()
    quota.take(0)


def test_a_refused_request_takes_nothing() -> None:
    """What is refused for its bytes is not counted as a request."""
    quota = Quota("This flow", Limits(2, bytes=100), now=Clock())
    quota.take(60)
    for _ in range(5):
        with pytest.raises(Overloaded):
            quota.take(60)

    quota.take(40)
    with pytest.raises(Overloaded):
        quota.take(0)


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("ipv4:oops", "ipv4:oops"),
    ],
)
def test_a_source_is_an_address_or_of_ipv6_a_network(remote: str, source: str) -> None:
    assert source_of(remote) == source


def test_of_many_sources_those_that_were_silent_longest_are_forgotten() -> None:
    """Two are kept: the one that sends stays known, the flood does not fill memory."""
    sources = Sources(Limits(1), most=2, now=Clock())
    steady = sources.quota("192.0.2.1")
    for number in range(100):
        sources.quota(f"198.51.100.{number}")
        assert sources.quota("192.0.2.1") is steady

    assert len(sources._quotas) == 2
