"""Stop 1, a body on its way: read in pieces, at the pace of whoever takes them.

Its sender has a deadline, and beyond it a floor of the rate. What has come gives time for
the rest, but never more than the deadline again: whoever was fast may not be silent for
long. Only the time counts in which the sender is waited for: while a piece is on its way to
the log nothing more is read, and that is not the sender's fault.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_exceptions import HTTPException

from hookline.errors import BrokeOff, TooSlow

# What reading a body raises when its framing is broken, or its sender gone.
BROKEN = (web.RequestPayloadError, HTTPException, HttpProcessingError, ConnectionError)
# What is here may be several times as much.
MOST_PIECE_BYTES: Final = 256 * 1024
# The next piece of a body, where so many bytes more are taken: who reads them judges.
# Empty at its end. Raises TooSlow and BrokeOff.
Read = Callable[[int], Awaitable[bytes]]


class Body:
    """A body on its way; `read` keeps the contract of `Read`.

    `invite` is called before anything is waited for: some senders want to be asked.
    """

    def __init__(
        self,
        content: StreamReader,
        timeout_s: float,
        floor_bytes_per_s: int,
        invite: Callable[[], None] | None = None,
    ) -> None:
        self._content = content
        self._invite = invite
        self._floor = floor_bytes_per_s
        self._timeout_s = timeout_s
        # Seconds until the body has fallen below the floor of its rate.
        self._patience_s = timeout_s
        self._clock = asyncio.get_running_loop().time

    async def read(self, _room: int, /) -> bytes:
        """The next piece."""
        if self._invite is not None:
            if not self._content.total_bytes:
                self._invite()
            self._invite = None
        begun = self._clock()
        try:
            async with asyncio.timeout(max(0.0, self._patience_s)):
                piece = await self._content.read(MOST_PIECE_BYTES)
        except TimeoutError as error:
            raise TooSlow("The body did not arrive in time: send it again.") from error
        except BROKEN as error:
            raise BrokeOff(f"The body broke off: {error}") from error
        left_s = self._patience_s - (self._clock() - begun)
        self._patience_s = min(left_s + len(piece) / self._floor, self._timeout_s)
        return piece
