"""Connections of the public port: what may come on them, how much, and how slowly.

aiohttp bounds neither a head as a whole nor what stands around the chunks of a body, has
no deadline for a head, and answers broken framing in plain text. All of that is put right
here; requests are answered elsewhere. What is refused ends its connection.
"""

import asyncio
from typing import Any, Final

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from hookline.sources import source_of
from hookline.v1 import event_pb2
from services.ingress.broken import (
    HEAD_TOO_LARGE,
    NO_ID,
    answer_to_broken,
    first_line,
    leads_nowhere,
    no_request,
)
from services.ingress.pieces import MOST_HEAD_BYTES, Pieces, is_one_request
from services.ingress.replies import last_bytes, problem
from services.ingress.senders import peer_address
from services.ingress.surroundings import Surroundings

# What is read of a chunked body at once; so much in a row without any of its bytes is
# more than the line before a chunk, or the lines after the last, may have.
PIECE_BYTES: Final = 4096
# Of the time for a head: how long a body may pause and keep its place.
PAUSE: Final = 0.1
# Around chunks of a single byte stand five; senders that sign each chunk add a line.
AROUND_A_BYTE: Final = 8
SPARE_BYTES: Final = 16 * 1024
MOST_LINGER_BYTES: Final = 32 * 1024 * 1024
HEAD_TOO_SLOW = "The head of the request did not arrive in time: send it again."
TOO_MUCH_AROUND = "there is too much around its chunks"


class Connection(web.RequestHandler):
    """One connection; knows since when a head is on its way, and what of it is here."""

    address = share = ""
    head_since: float | None = None
    head_bytes = 0
    _behind_proxy = False
    _pipe: Any = None
    _stalled_since: float | None = None
    # The body that is on its way, and what came around its chunks.
    _body: StreamReader | None = None
    _declared: int | None = None
    _around = _barren = _dropped = 0
    _came = 0.0  # when the last of it has come
    _deaf = False

    def __init__(
        self, server: web.Server, surroundings: Surroundings, **options: Any
    ) -> None:
        super().__init__(server, **options)
        self._surroundings = surroundings
        self._held = Pieces()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, and expect the first head from now on."""
        self._pipe = transport
        self.address = peer_address(transport)
        senders = self._surroundings.senders
        self._behind_proxy = senders.trusts(self.address)
        self.share = "" if self._behind_proxy else source_of(self.address)
        if self._surroundings.places.take(self):
            super().connection_made(transport)
            self.head_since = self._loop.time()
        else:
            self._deaf = True
            self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        self._surroundings.places.give(self)
        super().connection_lost(exc)

    def remote(self, http: web.BaseRequest) -> str:
        """The address that a request comes from."""
        if not self._behind_proxy:
            return self.address
        return self._surroundings.senders.named_by(self.address, http.raw_headers)

    def data_received(self, data: bytes) -> None:
        """Hand one request to the parser at a time; what comes with it is held."""
        if not data:
            if self._body is not None:
                self._receive(data)  # the parser goes on with what it has kept
        elif (
            self._body is None
            and not (self._messages or self.head_bytes or self._paused)
            and not self._buffer_paused  # as it is while anything is held
            and is_one_request(data)
        ):
            self._receive(data)
            return
        else:
            self._held.add(data)
        self._go_on()

    def _go_on(self) -> None:
        """Hand on what is held; read on once it is gone."""
        held = self._held
        while held and not self._full:
            if self._deaf or self._close or self._force_close:
                held.drop()
                break
            self._receive(self._next_piece())
        if held:
            if not self._buffer_paused:
                self._pause_reading_for_buffer()
        elif self._buffer_paused:
            self._resume_reading_for_buffer()

    @property
    def _full(self) -> bool:
        """Whether nothing may be handed on now.

        One request is in work at most, one waits for its turn, and none begins while its
        answer would not be taken.
        """
        waits = bool(self._messages) and self._body is None
        return waits or self._reading_paused or self._paused

    def _resume_reading_if_drained(self) -> None:
        """Go on; aiohttp says so when a request is taken into work."""
        self._go_on()

    def _next_piece(self) -> bytes:
        """A head, a body, or a part of either."""
        if (body := self._body) is None:
            return self._held.take_to_end(MOST_HEAD_BYTES - self.head_bytes)
        if self._declared is None:
            return self._held.take_to_end(PIECE_BYTES)
        return self._held.take(max(self._declared - body.total_bytes, 1))

    def _receive(self, data: bytes) -> None:
        if self._deaf:
            return
        heads, body = self._request_count, self._body
        before = body.total_bytes if body is not None else 0
        super().data_received(data)
        if self._upgraded:
            self._stay()
        if self._request_count != heads:
            self._begin()
        elif body is not None:
            self._count_body(body, len(data), body.total_bytes - before)
        elif data:
            self._count_head(len(data))

    def _stay(self) -> None:
        """Go on in HTTP/1.1, where a request has asked for another protocol."""
        self._upgraded = False
        if self._parser is not None:
            self._parser.set_upgraded(False)
        rest, self._message_tail = self._message_tail, b""
        if rest:
            self._held.put_back(rest)

    def _begin(self) -> None:
        """A head is complete, or something is broken."""
        message, body = self._messages[-1]
        if leads_nowhere(message):
            message = no_request("there is no target")
            self._messages[-1] = message, body
        if not isinstance(message, RawRequestMessage):
            self._deaf = True
            self._break_body(first_line(message.message))
            return
        self.head_since = None
        self.head_bytes = self._around = self._barren = 0
        self._body = None if body.is_eof() else body
        if self._body is not None:
            self._came = self._loop.time()
            declared = message.headers.get("Content-Length")
            self._declared = int(declared) if declared else None

    def _count_head(self, size: int) -> None:
        self.head_bytes += size
        if self.head_since is None:
            self.head_since = self._loop.time()
        if self.head_bytes >= MOST_HEAD_BYTES:  # and it is not complete
            self._refuse(event_pb2.REASON_HEAD_TOO_LARGE, HEAD_TOO_LARGE)

    def _count_body(self, body: StreamReader, size: int, grown: int) -> None:
        if body.is_eof():
            self._body = None
            return
        if size:
            self._came = self._loop.time()
        if not self._request_in_progress:  # it is refused, and nobody reads on
            self._dropped += size
            if self._dropped > MOST_LINGER_BYTES:
                self.force_close()
                return
        if self._declared is not None or not size:
            return
        self._barren = 0 if grown else self._barren + size
        self._around += size - grown
        most = SPARE_BYTES + AROUND_A_BYTE * body.total_bytes
        if self._barren >= PIECE_BYTES or self._around > most:
            self._deaf = True
            self._break_body(TOO_MUCH_AROUND)

    def _break_body(self, text: str) -> None:
        """Tell whoever reads the body that its rest will not come."""
        self.close_with_answer()
        if self._body is not None:
            self._body.set_exception(web.RequestPayloadError(text))

    @property
    def _idle(self) -> bool:
        waiter = self._waiter
        waits = waiter is not None and not waiter.done()
        return waits or not self._request_count

    @property
    def waiting_since(self) -> float | None:
        """Since when its sender is waited for; None while it is not.

        A pause in a body is no waiting yet; nor is one that it is held up in.
        """
        if self._idle:
            # aiohttp notes when it will close the connection if nothing comes.
            return self._next_keepalive_close_time - self.keepalive_timeout
        if self._body is None or self._messages or self._reading_paused or self._held:
            return None
        pause_s = self._surroundings.timeout_s * PAUSE
        return self._came if self._came < self._loop.time() - pause_s else None

    def close_if_idle(self) -> None:
        """End a connection that has no request; one with a request goes on being read.

        aiohttp's own way drops the rest of a body that is on its way.
        """
        if self._waiter is not None and not self._waiter.done():
            self.close()

    def close_if_overdue(self, now: float) -> None:
        """End a connection on which something has not come, or not gone, in time."""
        oldest = now - self._surroundings.timeout_s
        if self._task_handler is not None and self._task_handler.done():
            self.abort()  # nobody answers here any more
            return
        if self._stalled_since is None and self._pipe.is_closing():
            self._stalled_since = now  # until its last bytes are taken
        if self._stalled_since is not None:
            if self._stalled_since <= oldest:
                self.abort()
        elif self.head_since is not None and self.head_since <= oldest and self._idle:
            self._refuse(event_pb2.REASON_TOO_SLOW, HEAD_TOO_SLOW)

    def _process_keepalive(self) -> None:
        """Aiohttp's timer: for connections that are used no more, not for a slow head."""
        if self.head_since is None:
            super()._process_keepalive()
        else:
            self._keepalive_handle = None

    def pause_writing(self) -> None:
        """Notice that answers are not taken."""
        super().pause_writing()
        self._stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        """Notice that they are again."""
        super().resume_writing()
        self._stalled_since = None
        self._go_on()

    def close_with_answer(self) -> None:
        """Have nothing read and dropped of a body whose request is refused."""
        self._lingering_time = 0.0

    def abort(self) -> None:
        """End it at once."""
        self._pipe.abort()

    def _refuse(self, reason: int, text: str) -> None:
        """Answer a request that is not whole, unless others are to be answered first."""
        if not self._idle or self.transport is None:
            self.close()
            return
        response = problem(reason, text, NO_ID)
        self.transport.write(last_bytes(response))
        self._surroundings.metrics.answered(response.status)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, or what went wrong in here."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = answer_to_broken(status, exc, message)
        self._surroundings.metrics.answered(response.status)
        return response
