"""Requests in flight at the edge: counted, and waited for at a stop."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from hookline.metrics import EdgeMetrics
from services.ingress.connection import Connection

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Traffic:
    """Stands before the handler of every request."""

    def __init__(self, handler: Handler, metrics: EdgeMetrics) -> None:
        self._handler = handler
        self._metrics = metrics
        self._in_flight = 0
        self._leaving = False
        self._ended = asyncio.Event()
        metrics.in_flight.set_function(lambda: self._in_flight)

    async def receive(self, http: web.BaseRequest) -> web.StreamResponse:
        """Have a request answered; at a stop its connection ends with the answer."""
        self._in_flight += 1
        try:
            response = await self._handler(http)
        finally:
            self._in_flight -= 1
            self._tell()
        self._metrics.answered(response.status)
        if response.status == HTTPStatus.REQUEST_TIMEOUT:
            _end(http)
        if self._leaving:
            response.force_close()
        return response

    async def wait_ended(self, limit_s: float) -> None:
        """Return when what is in flight has its answers, or the time is over."""
        self._leaving = True
        self._tell()
        try:
            async with asyncio.timeout(limit_s):
                await self._ended.wait()
        except TimeoutError:
            return

    def _tell(self) -> None:
        if self._leaving and not self._in_flight:
            self._ended.set()


def _end(http: web.BaseRequest) -> None:
    """Whoever was too slow with a body is not waited for after its answer either."""
    if isinstance(http.protocol, Connection):
        http.protocol.close_with_answer()
