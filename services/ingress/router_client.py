"""Stop 2: requests that arrive together travel together to a router.

Every address that the router's name resolves to gets one stream; requests take turns
among those that answer. Never a 2xx on doubt: where no router answers within the deadline,
where the stream breaks or too many bytes are on their way, the outcome is Unavailable.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from hookline.errors import Rejected, Unavailable
from hookline.outcomes import rejection
from hookline.shares import OVERHEAD_BYTES
from hookline.v1 import event_pb2, router_pb2
from services.ingress.addresses import Resolve, resolver
from services.ingress.body import MOST_PIECE_BYTES, Read
from services.ingress.byte_bound import Arriving, ByteBound
from services.ingress.expectation import waits
from services.ingress.router_stream import Waiting
from services.ingress.spread import NOWHERE, Spread
from services.ingress.upload import Next, upload

IN_LINE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Routers:
    """Where the routers are, and what may be on its way to them.

    `target` is HOST:PORT; all addresses that the name resolves to are used.
    """

    target: str
    token: str
    deadline_s: float = 5.0
    most_bytes_in_flight: int = 48 * 1024 * 1024


@asynccontextmanager
async def connecting(
    routers: Routers, resolve: Resolve | None = None
) -> AsyncIterator["RouterClient"]:
    """Keep streams to the routers while the block runs; connections come as they can.

    `resolve` gives the addresses (IP:PORT) in place of the system's resolver.
    """
    spread = Spread(
        resolve or resolver(routers.target), routers.token, routers.deadline_s
    )
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(spread.follow_addresses())
        sweeping = tasks.create_task(spread.sweep())
        try:
            yield RouterClient(routers, spread)
        finally:
            following.cancel()
            sweeping.cancel()


class RouterClient:
    """Made by `connecting`; keeps the `Router` protocol of the app."""

    def __init__(self, routers: Routers, spread: Spread) -> None:
        self._deadline_s = routers.deadline_s
        self._spread = spread
        self._bytes = ByteBound(routers.most_bytes_in_flight)
        self._loop = asyncio.get_running_loop()

    @property
    def ready(self) -> bool:
        """Whether at least one router takes requests."""
        return self.routers > 0

    @property
    def routers(self) -> int:
        """How many routers take requests."""
        return self._spread.routers

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of requests whose outcome is not there yet."""
        return self._bytes.taken

    async def receive(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """Have a request judged whose body is here. Never raises."""
        size = request.ByteSize()
        held = size + OVERHEAD_BYTES
        try:
            self._bytes.take(held)
        except Unavailable as error:
            return rejection(request.request_id, error)
        try:
            return await self._pass(request, size)
        finally:
            self._bytes.give(held)

    async def upload(
        self,
        head: event_pb2.Request,
        declared_size: int | None,
        read: Read,
    ) -> event_pb2.Outcome:
        """Have a request judged whose body is on its way. Never raises.

        A small body goes in line with its head; of a large one the head goes first, and
        where the sender waits to be asked for it.
        """
        try:
            with self._bytes.holding(head.remote) as arriving:
                arriving.hold(OVERHEAD_BYTES)
                first: list[bytes] = []
                small = declared_size is None or declared_size <= IN_LINE_BYTES
                if small and not waits(head):
                    first = await _first(read, arriving)
                    if not first[-1]:
                        arriving.complete()
                        head.body = b"".join(first)
                        return await self._pass(head, head.ByteSize())
                pieces = _Pieces(first, read, arriving, declared_size)
                return await self._upload(head, declared_size, pieces.next)
        except (Rejected, Unavailable) as error:
            return rejection(head.request_id, error)

    async def _upload(
        self,
        head: event_pb2.Request,
        declared_size: int | None,
        next_piece: Next,
    ) -> event_pb2.Outcome:
        stream = self._spread.next()
        if stream is None:
            raise Unavailable(NOWHERE)
        first = router_pb2.UploadHead(request=head, declared_size=declared_size)
        return await upload(stream, first, next_piece, deadline_s=self._deadline_s)

    def _pass(
        self, request: event_pb2.Request, size: int
    ) -> asyncio.Future[event_pb2.Outcome]:
        waiting = Waiting(request, size, self._loop.time(), self._loop.create_future())
        self._spread.put(waiting)
        return waiting.outcome


async def _first(read: Read, arriving: Arriving) -> list[bytes]:
    """The pieces of a body up to what goes in line; the last is empty if it has ended."""
    pieces = [b""]
    room = IN_LINE_BYTES
    while room >= 0:
        piece = await read(room)
        pieces.append(piece)
        arriving.hold(len(piece))
        room -= len(piece)
        if not piece:
            break
    return pieces


class _Pieces:
    """A large body on its way; of it one piece is in hand, once the first ones are gone.

    Room for a piece is held from the beginning: while a router is asked the port reads on,
    and no body is refused in its middle.
    """

    def __init__(
        self, first: list[bytes], read: Read, arriving: Arriving, declared: int | None
    ) -> None:
        self._first = [piece for piece in first if piece]
        self._read = read
        self._hold = arriving.hold
        self._room = sum(map(len, first))
        self._make_room(min(declared or MOST_PIECE_BYTES, MOST_PIECE_BYTES))

    async def next(self) -> bytes:
        """The next piece; the one before is gone."""
        if self._first:
            return self._first.pop(0)
        piece = await self._read(IN_LINE_BYTES)
        self._make_room(len(piece))
        return piece

    def _make_room(self, size: int) -> None:
        if size > self._room:
            self._hold(size - self._room)
            self._room = size
