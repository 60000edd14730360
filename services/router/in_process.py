"""Stop 2 where there is no way to go: the edge is in the router's own process.

It keeps the bounds that edge and router have where they are apart: of requests that are
here as a whole, and of bodies on their way.
"""

from hookline.errors import Unavailable
from hookline.event import IN_LINE_BYTES
from hookline.shares import FULL, OVERHEAD_BYTES
from hookline.v1 import event_pb2
from services.router.receiver import Receiver
from services.router.upload_bound import UploadBound
from services.router.uploads import Read


class Bounded:
    """A receiver that the edge calls directly."""

    def __init__(
        self, receiver: Receiver, most_bytes_in_flight: int, most_upload_bytes: int
    ) -> None:
        self._receiver = receiver
        self._most = most_bytes_in_flight
        self._uploads = UploadBound(most_upload_bytes)
        self._taken = 0

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of requests whose outcome is not there yet."""
        return self._taken + self._uploads.taken

    async def receive(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """Have a request judged whose body is here. Never raises."""
        held = len(request.body) + OVERHEAD_BYTES
        if self._taken + held > self._most:
            return self._receiver.reject(request, Unavailable(FULL))
        self._taken += held
        try:
            return await self._receiver.receive(request)
        finally:
            self._taken -= held

    async def upload(
        self, head: event_pb2.Request, declared_size: int | None, read: Read
    ) -> event_pb2.Outcome:
        """Have a request judged whose body is on its way. Never raises."""
        size = head.ByteSize() + OVERHEAD_BYTES
        # The port reads on until so much of it lies here.
        unread = min(declared_size or IN_LINE_BYTES, IN_LINE_BYTES)
        try:
            with self._uploads.holding(head.remote, size, unread) as held:

                async def begin(room: int) -> bytes:
                    held.begin()
                    return await read(room)

                return await self._receiver.upload(head, declared_size, begin, held)
        except Unavailable as error:
            return self._receiver.reject(head, error)
