"""Stop 3 for large bodies: into the body store while they are judged.

A body up to 256 KiB is gathered and goes on in line, as if it had been here from the
beginning. A larger one passes through in pieces: counted, hashed, fed to signatures and
parser, written. Nothing is completed in the store before a credential has matched; what is
refused, broken off or given up leaves nothing there. What is wrong with its content is
told once a credential has matched, never before; and for a sender who is not known yet no
body is gathered, nor is a content coding taken off: what is parsed whole or decoded is read
again from the store then.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from hookline import bodies
from hookline.bodies_check import MOST_PARSED_BYTES, check_parsed_size
from hookline.body_store import BodyStore
from hookline.errors import Rejected, TerminalError, TooLarge, Unavailable
from hookline.event import IN_LINE_BYTES
from hookline.log import Topic, partition_of
from hookline.v1 import event_pb2
from services.router.guards import Verifies
from services.router.registry import ServedFlow

# What comes at once, at most.
MOST_PIECE_BYTES: Final = 256 * 1024
# Of a body that is refused on its way, for those who look at rejections.
SHOWN_BYTES: Final = 1024
# The next piece of a body, where so many bytes more are taken; empty at its end.
# Raises Rejected or Unavailable.
Read = Callable[[int], Awaitable[bytes]]


class Hold(Protocol):
    """Counts bytes that stay in memory until the request is answered."""

    def __call__(self, size: int, /) -> None:
        """Count them as they come. Raises Unavailable."""
        ...

    async def reserve(self, size: int, /) -> None:
        """Wait until there is room for so many in all. Raises Unavailable."""
        ...


class Unbounded:
    """Holds whatever comes."""

    def __call__(self, size: int, /) -> None:
        """Count nothing."""

    async def reserve(self, size: int, /) -> None:
        """Wait for nothing."""


UNBOUNDED: Final = Unbounded()


class Arriving:
    """A body on its way here, within its flow's limit."""

    def __init__(
        self, read: Read, hold: Hold, limit: int, declared: int | None
    ) -> None:
        self._read = read
        self.declared = declared
        self.most = limit if declared is None else declared
        self._limit = limit
        self._first: list[bytes] = []
        self._beginning = b""
        self._size = 0
        self.hold = hold

    async def gather(self) -> bool:
        """Whether the body has ended within what goes in line. Raises TooLarge."""
        while self._size <= IN_LINE_BYTES:
            piece = await self._next()
            if not piece:
                return True
            self.hold(len(piece))
            self._first.append(piece)
        return False

    @property
    def size(self) -> int:
        """How many bytes have come so far."""
        return self._size

    @property
    def gathered(self) -> bytes:
        """What has come so far."""
        return b"".join(self._first)

    async def next(self) -> bytes:
        """The next piece, what was gathered first; empty at the end. Raises TooLarge."""
        return self._first.pop(0) if self._first else await self._next()

    def leave_beginning(self, head: event_pb2.Request) -> None:
        """Show a refused body's size, and how it begins, in place of the body."""
        head.body = self._beginning
        head.stored_body.size = self._size

    async def _next(self) -> bytes:
        piece = await self._read(self._limit - self._size)
        self._size += len(piece)
        self._beginning += piece[: SHOWN_BYTES - len(self._beginning)]
        if self._size > self._limit:
            raise TooLarge(f"This flow takes bodies of at most {self._limit} bytes.")
        return piece


class Uploads:
    """Large bodies on their way into the store."""

    def __init__(self, store: BodyStore | None, events: Topic) -> None:
        self._store = store
        self._partitions = events.partitions

    def check_size(self, declared: int) -> None:
        """Raise TooLarge where bodies of this size have no place."""
        if declared > IN_LINE_BYTES:
            self._place()

    async def reserve(
        self,
        head: event_pb2.Request,
        served: ServedFlow,
        verifier: Verifies,
        body: Arriving,
    ) -> None:
        """Wait for the room that a body will need, as far as its head tells.

        Raises Unavailable.
        """
        if body.declared is None:
            await body.hold.reserve(IN_LINE_BYTES + MOST_PIECE_BYTES)
        elif body.declared <= IN_LINE_BYTES:
            await body.hold.reserve(body.declared)
        else:
            judging = _Judging(head, served, verifier, body.hold)
            await judging.reserve(self._place(), body.most)

    async def keep(
        self,
        head: event_pb2.Request,
        served: ServedFlow,
        verifier: Verifies,
        body: Arriving,
    ) -> event_pb2.StoredBody | tuple[bytes, ...]:
        """Judge a body and keep it. Raises Rejected or Unavailable, and keeps nothing.

        Of a batch nothing is kept either: its elements are given.
        """
        store = self._place()
        judging = _Judging(head, served, verifier, body.hold)
        await judging.reserve(store, body.most)
        partition = partition_of(head.flow_id.encode(), self._partitions)
        written = 0
        async with store.writing(partition) as writing:
            while piece := await body.next():
                await judging.take(piece)
                if judging.refused:
                    continue
                if written < store.held_bytes:
                    body.hold(len(piece))
                written += len(piece)
                await writing.write(piece)
            judging.verify()
            if not judging.later:
                await judging.end()
                if judging.events is not None:
                    return judging.events
                return await writing.finish()
            stored = await writing.finish()
        return await _judge_later(judging, store, stored)

    async def delete(self, stored: event_pb2.StoredBody) -> None:
        """Delete a body that no event refers to."""
        await self._place().delete(stored.name)

    def _place(self) -> BodyStore:
        if self._store is None:
            raise TooLarge(
                f"Bodies of more than {IN_LINE_BYTES} bytes have no place here: send less, "
                "or have the operator set HOOKLINE_BODIES__STORE for routers and executors."
            )
        return self._store


class _Judging:
    """Credential and content of a body that comes in pieces."""

    def __init__(
        self,
        head: event_pb2.Request,
        served: ServedFlow,
        verifier: Verifies,
        hold: Hold,
    ) -> None:
        self._signatures = verifier.begin(head)
        self._check = bodies.begin_check(head, raw=served.raw, limit=served.max_body)
        self._hold = hold
        self._size = 0
        # The most that was held of the content.
        self._counted = 0
        self._refusal: Rejected | None = None
        # What would be gathered or decoded waits until the sender is known.
        costly = self._check.gathers or self._check.decodes
        self.later = costly and not self._signatures.decided

    async def reserve(self, store: BodyStore, size: int) -> None:
        """Wait for room for what a body of a size holds at most. Raises Unavailable.

        That is its beginning, the store's parts, and what is gathered.
        """
        gathers = self._check.gathers and not self.later
        gathered = min(size, MOST_PARSED_BYTES) if gathers else 0
        parts = min(size, store.held_bytes + MOST_PIECE_BYTES)
        beginning = IN_LINE_BYTES + MOST_PIECE_BYTES
        await self._hold.reserve(beginning + parts + gathered)

    @property
    def refused(self) -> bool:
        """Whether it is known that the content will not do."""
        return self._refusal is not None

    @property
    def events(self) -> tuple[bytes, ...] | None:
        """After `end`: the elements where the body is a batch."""
        return self._check.events

    async def take(self, piece: bytes) -> None:
        """Judge the next piece. Raises what may be told already, and Unavailable."""
        self._size += len(piece)
        self._signatures.update(piece)
        if self.later:
            if self._check.gathers:
                check_parsed_size(self._size)
        elif self._refusal is None:
            await self._feed(piece)

    async def _feed(self, piece: bytes) -> None:
        try:
            await self.feed(piece)
        except Rejected as error:
            if self._signatures.decided:
                raise
            self._refusal = error

    async def feed(self, piece: bytes) -> None:
        """Judge the content of a piece. Raises Rejected, and Unavailable."""
        await self._check.take(piece)
        more = self._check.held - self._counted
        if more > 0:
            self._counted += more
            self._hold(more)

    def verify(self) -> None:
        """Raise Rejected unless the credential will do, and the content as far as seen."""
        self._signatures.end()
        if self._refusal is not None:
            raise self._refusal

    async def end(self) -> None:
        """Raise Rejected unless the content as a whole will do."""
        await self._check.finish()


async def _judge_later(
    judging: _Judging, store: BodyStore, stored: event_pb2.StoredBody
) -> event_pb2.StoredBody | tuple[bytes, ...]:
    """Judge content that is in the store, of a sender who may send.

    Raises Rejected and Unavailable; what is not kept is deleted.
    """
    kept = False
    try:
        judging.later = False
        await judging.reserve(store, stored.size)
        async for piece in store.read(stored):
            await judging.feed(piece)
        await judging.end()
        kept = judging.events is None
    except TerminalError as error:
        # It was whole a moment ago: a repeat writes it anew.
        raise Unavailable(str(error)) from error
    finally:
        if not kept:
            await store.delete(stored.name)
    return stored if judging.events is None else judging.events
