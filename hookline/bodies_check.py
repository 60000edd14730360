"""Reads a body as its pieces come: what the router checks and the executor looks at.

Multipart and files take constant memory at every size; what is parsed whole is gathered.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any, Final

from hookline.bodies_encoding import Decoder
from hookline.bodies_kinds import (
    Kind,
    ParsedBody,
    kind_of,
    read_field,
    read_parts,
    read_raw,
)
from hookline.bodies_multipart import File, Multipart
from hookline.bodies_thread import in_thread
from hookline.errors import (
    Malformed,
    MissingContentType,
    Rejected,
    TooLarge,
    UnsupportedCoding,
)
from hookline.event import Attachment, Content, InMemory

# What is parsed whole takes a multiple of its size as a value.
MOST_PARSED_BYTES: Final = 16 * 1024 * 1024
NO_TYPE: Final = "Send a Content-Type header with the body: any type is accepted."
# Makes the content that is a range of the decoded body: start, size, digest in hex.
RangeOf = Callable[[int, int, str], Content]


def check_parsed_size(size: int) -> None:
    """Raise TooLarge where a body is too large to be parsed whole."""
    if size > MOST_PARSED_BYTES:
        raise TooLarge(
            f"Bodies of this type are parsed whole: send at most {MOST_PARSED_BYTES} "
            "bytes, or send it as a file (multipart/form-data)."
        )


class BodyCheck:
    """Whether a body can be read by its content type, without its codings.

    `gathers` tells whether it is held as a whole, decoded, until `end`. Parsing it can
    take a while then, and so can decoding: what is large is judged in a thread.
    """

    def __init__(
        self,
        kind: Kind | None,
        content_encoding: str,
        *,
        raw: bool,
        limit: int,
        digests: bool = False,
    ) -> None:
        self._kind = kind
        self._raw = raw
        self._limit = limit
        self._decoder: Decoder | None = None
        self._parts: Multipart | None = None
        # What is wrong from the start is not told before there is a body.
        self.refusal: Rejected | None = None
        in_parts = kind is not None and kind.boundary is not None and not raw
        self.gathers = kind is not None and (raw or not (kind.is_file or in_parts))
        try:
            if content_encoding:
                self._decoder = Decoder(content_encoding, limit)
            if kind is not None and in_parts:
                self._parts = Multipart(
                    kind.boundary or "",
                    read_field,
                    digests=digests,
                    keeps_small=digests and self._decoder is not None,
                )
        except (Malformed, UnsupportedCoding) as error:
            self.refusal = error
        self._held = bytearray()
        self._size = 0
        self._digest: Any = sha256() if digests else None
        self._parsed: ParsedBody | None = None

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises Malformed, MissingContentType or TooLarge."""
        if self.refusal is not None:
            raise self.refusal
        if self._kind is None and piece:
            raise MissingContentType(NO_TYPE)
        if self._decoder is None:
            self._take(piece)
            return
        for decoded in self._decoder.feed(piece):
            self._take(decoded)

    def end(self) -> None:
        """The body is over. Raises Malformed."""
        if self.refusal is not None:
            raise self.refusal
        if self._decoder is not None:
            self._decoder.end()
        if self._parts is not None:
            self._parts.end()
            if self._decoder is not None:
                self._parts.check_reading()
        elif self.gathers and self._kind is not None:
            read = read_raw if self._raw else self._kind.read
            self._parsed = read(bytes(self._held), self._kind)
            self._held.clear()

    async def take(self, piece: bytes) -> None:
        """As `feed`; in a thread where a piece can be much more than it looks."""
        if self._decoder is None:
            self.feed(piece)
        else:
            await asyncio.to_thread(self.feed, piece)

    async def finish(self) -> None:
        """As `end`; in a thread where the body is parsed there."""
        if self.gathers:
            await in_thread(self.end)
        else:
            self.end()

    @property
    def held(self) -> int:
        """How many bytes are held for the body, its codings' windows among them."""
        windows = self._decoder.held if self._decoder else 0
        return windows + len(self._held) + (self._parts.held if self._parts else 0)

    @property
    def decodes(self) -> bool:
        """Whether it takes content codings off, which costs more than it looks."""
        return self._decoder is not None

    @property
    def events(self) -> tuple[bytes, ...] | None:
        """After `end`: the elements where the body is a batch, each an event's body."""
        return self._parsed.events if self._parsed is not None else None

    def parsed(self, range_of: RangeOf) -> ParsedBody:
        """After `end`: what was read, with files as ranges of the decoded body."""
        if self._parsed is not None:
            return self._parsed
        if self._parts is not None:
            return read_parts(self._parts, partial(_attachment, range_of))
        if self._kind is None:
            return ParsedBody({})
        digest = self._digest.hexdigest() if self._digest is not None else ""
        content = range_of(0, self._size, digest)
        file = Attachment(self._kind.media_type, content)
        return ParsedBody({}, {self._kind.file_name: file})

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise TooLarge(f"This flow takes bodies of at most {self._limit} bytes.")
        if self._parts is not None:
            self._parts.feed(piece)
        elif self.gathers:
            self._held += piece
            check_parsed_size(self._size)
        elif self._digest is not None:
            self._digest.update(piece)


def _attachment(range_of: RangeOf, file: File) -> Attachment:
    content: Content
    if file.content is not None:
        content = InMemory(file.content)
    else:
        content = range_of(file.start, file.size, file.sha256)
    return Attachment(file.content_type, content)


def body_check(
    content_type: str | None,
    content_encoding: str,
    *,
    raw: bool,
    limit: int,
    digests: bool = False,
) -> BodyCheck:
    """Begin to read a body; see BodyCheck."""
    kind = kind_of(content_type) if content_type is not None else None
    return BodyCheck(kind, content_encoding, raw=raw, limit=limit, digests=digests)
