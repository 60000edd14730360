"""Where bodies are read that may be much more than they look: two threads, off the loop.

A few kilobytes can decode to the flow's whole limit, and parsing that takes a while and a
multiple of it in memory: so at most two are read at a time, and what waits for its turn is
no more than what was sent.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from hookline.errors import Error, Unavailable

THREADS: Final = 2
# Of requests that somebody waits for with a deadline.
MOST_BEGUN: Final = 64
P = ParamSpec("P")
T = TypeVar("T")


class _Threads:
    def __init__(self) -> None:
        self._inner = ThreadPoolExecutor(THREADS, "bodies")
        self.begun = 0

    def begin(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._inner, _run, function)
        self.begun += 1
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future: object) -> None:
        self.begun -= 1


def _run(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Error as error:
        # Its frames hold the body, for as long as anybody holds the error.
        error.__context__ = None
        raise error.with_traceback(None) from None


_threads = _Threads()


def in_thread(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> "asyncio.Future[T]":
    """Begin to read a body; the future has what comes of it, raised or returned."""
    return _threads.begin(partial(function, *args, **kwargs))


def in_thread_soon(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> "asyncio.Future[T]":
    """The same; raises Unavailable where so many wait that it would take too long."""
    if _threads.begun >= MOST_BEGUN:
        raise Unavailable(
            "Too many bodies with content codings are being read: send the request "
            "again later, or without a coding."
        )
    return in_thread(function, *args, **kwargs)
