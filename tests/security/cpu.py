"""What work costs in CPU time: of its thread alone, so that other work does not count.

Machines differ, so what is cheap is measured, too: about 50 ms on one of two fast cores.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from hookline.errors import Malformed


def cheap_s() -> float:
    """CPU seconds that this machine needs for two million turns of an empty loop."""
    return least_cpu_s(_loop)


def _loop() -> None:
    turns = 0
    while turns < 2_000_000:
        turns += 1


def least_cpu_s(work: Callable[[], object], tries: int = 3) -> float:
    """The least CPU seconds of a few tries; a refusal counts as an end like any other."""
    return min(_cpu_s(work) for _ in range(tries))


def _cpu_s(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    with suppress(Malformed):
        work()
    return time.thread_time() - begun
