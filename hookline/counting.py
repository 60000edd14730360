"""Counts that are made for every event: plain numbers until somebody looks at them.

The metrics library takes a lock and checks its arguments each time, for what any thread
may count: six of them were 5 of the 540 us that an event took where it was measured. These
are counted on one thread, the loop's, and shown by any.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, more: int = 1) -> None:
        """Count so many."""
        self.value += more


class Counts(Collector):
    """A counter by the values of one label, which are from a closed set."""

    def __init__(
        self, name: str, what: str, label: str, *, registry: CollectorRegistry | None
    ) -> None:
        self._name, self._what, self._label = name, what, label
        self._counts: dict[str, Count] = {}
        if registry is not None:
            registry.register(self)

    def labels(self, value: str) -> Count:
        """The series of one value; it is shown from when it was asked for."""
        count = self._counts.get(value)
        if count is None:
            count = self._counts[value] = Count()
        return count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As the metrics library shows it."""
        family = CounterMetricFamily(self._name, self._what, labels=[self._label])
        for value, count in list(self._counts.items()):
            family.add_metric([value], count.value)
        yield family


class Total(Count, Collector):
    """A counter without labels."""

    __slots__ = ("_name", "_what")

    def __init__(
        self, name: str, what: str, *, registry: CollectorRegistry | None
    ) -> None:
        super().__init__()
        self._name, self._what = name, what
        if registry is not None:
            registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As the metrics library shows it."""
        yield CounterMetricFamily(self._name, self._what, value=self.value)


class Durations(Collector):
    """A histogram of seconds; `bounds` are the upper ones of its buckets, rising."""

    def __init__(
        self,
        name: str,
        what: str,
        bounds: Sequence[float],
        *,
        registry: CollectorRegistry | None,
    ) -> None:
        self._name, self._what, self._bounds = name, what, tuple(map(float, bounds))
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        if registry is not None:
            registry.register(self)

    def observe(self, seconds: float) -> None:
        """Count one of so many seconds."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """As the metrics library shows it."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(
            self._name, self._what, buckets=buckets, sum_value=self._sum
        )
