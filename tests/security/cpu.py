"""What work costs in CPU time: of its thread alone, so that other work does not count."""

import time
from collections.abc import Callable
from contextlib import suppress

from hookline.errors import Malformed


def least_cpu_s(work: Callable[[], object], tries: int = 10) -> float:
    """The least CPU seconds of ten tries; a refusal counts as an end like any other."""
    return min(_cpu_s(work) for _ in range(tries))


def _cpu_s(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    with suppress(Malformed):
        work()
    return time.thread_time() - begun
