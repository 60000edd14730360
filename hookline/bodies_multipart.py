"""multipart/form-data (RFC 7578), read in pieces: fields are kept, files are ranges.

Memory is that of the fields, whatever the files' size. A file is named by where its bytes
are in the body, so that it need not be copied to be read.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartState, parse_options_header

from hookline.bodies_names import (
    extension_of,
    is_field,
    names_in,
    safe_name,
    text_of,
    unique_name,
)
from hookline.errors import Malformed, TooLarge
from hookline.event import Value

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS: Final = 1000
MOST_HEADERS: Final = 16
MOST_HEADER_BYTES: Final = 8 * 1024
MOST_FIELD_BYTES: Final = 1024 * 1024
# Where files are cheaper to keep than to read again: a small one, and all small ones.
SMALL_BYTES: Final = 64 * 1024
MOST_SMALL_BYTES: Final = 1024 * 1024
# What is read to read each of the others once, from the beginning of the body on.
MOST_READ_BYTES: Final = 1024 * 1024 * 1024
MOST_READ_TIMES: Final = 8
MOST_BOUNDARY: Final = 70
MOST_PADDING: Final = 64
CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What it finds wrong is the sender's business, and is told to the sender.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(slots=True)
class File:
    """A file in a body: `size` bytes from the byte `start` on."""

    name: str
    content_type: str
    start: int = 0
    size: int = 0
    sha256: str = ""
    content: bytes | None = None


@dataclass(slots=True)
class _Part:
    """The part that is being read: a field with a name and a type, or a file."""

    headers: dict[bytes, str] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    start: int | None = None
    size: int = 0
    file: File | None = None
    name: str = ""
    content_type: str = ""
    # Of a field, or of a file that is kept.
    content: bytearray = field(default_factory=bytearray)
    digest: Any = None


class Multipart:
    """The parts of one body, as its pieces come.

    `fields` and `files` are complete after `end`. Digests of files are made where they
    are asked for. `read_field` gives the value of a field with a content type. With
    `keeps_small` small files are kept, so many of them, from the first one on.
    """

    def __init__(
        self,
        boundary: str,
        read_field: Callable[[str, bytes], Value],
        *,
        digests: bool = False,
        keeps_small: bool = False,
    ) -> None:
        """Raises Malformed where the boundary cannot be one."""
        delimiter = boundary.encode()
        if not 0 < len(delimiter) <= MOST_BOUNDARY:
            raise Malformed("Name the boundary of the parts in the Content-Type.")
        self._fields: dict[str, list[Value]] = {}
        self.files: list[File] = []
        self._read_field = read_field
        self._digests = digests
        self._keeps_small = keeps_small
        self._small = 0
        self._again = 0
        self._names: dict[str, int] = {}
        self._delimiters = re.compile(b"\r\n--" + re.escape(delimiter))
        self._parser = self._parser_of(delimiter)
        self._piece = b""
        self._before = 0
        self._begun = False
        self._ended = False
        self._parts = 0
        self._seen = 0
        self._held = 0
        self._part = _Part()

    def _parser_of(self, delimiter: bytes) -> MultipartParser:
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_end": self._end,
        }
        return MultipartParser(
            delimiter,
            callbacks,
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises Malformed or TooLarge."""
        if not self._begun:
            # A form has no preamble, and the parser takes one only in some pieces.
            stripped = piece.lstrip(b"\r\n")
            self._before += len(piece) - len(stripped)
            piece = stripped
            self._begun = bool(piece)
        self._check_delimiters(piece)
        self._piece = piece
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Malformed(f"The body is not multipart/form-data: {error}") from error
        self._before += len(piece)

    def end(self) -> None:
        """The body is over. Raises Malformed where its last boundary is missing."""
        if not self._ended:
            raise Malformed(
                "The body is not multipart/form-data: its closing boundary is missing"
            )

    @property
    def fields(self) -> dict[str, Value]:
        """The fields by name; one that is there several times is a list."""
        return {
            name: values[0] if len(values) == 1 else values
            for name, values in self._fields.items()
        }

    @property
    def held(self) -> int:
        """How many bytes the fields have, and the files that are kept."""
        return self._held + (self._small if self._keeps_small else 0)

    def check_reading(self) -> None:
        """Raise TooLarge where the files cost too much if each is reached by decoding."""
        if self._again > max(MOST_READ_BYTES, MOST_READ_TIMES * self._before):
            raise TooLarge(
                "Each file of a form with a content coding is reached by decoding all "
                "before it, and here that is too much: send fewer, or no coding."
            )

    def _check_delimiters(self, piece: bytes) -> None:
        """Bound what the parser looks at byte by byte, rather than searches through."""
        if self._parser.state == MultipartState.BOUNDARY_PADDING:
            _check_padding(piece[: MOST_PADDING + 1])
        for found in self._delimiters.finditer(piece):
            self._seen += 1
            if self._seen > 2 * MOST_PARTS and not self._ended:
                raise Malformed(f"A form has at most {MOST_PARTS} parts")
            _check_padding(piece[found.end() : found.end() + MOST_PADDING + 1])

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Malformed(f"A form has at most {MOST_PARTS} parts")
        self._part = _Part()

    def _take_header_name(self, piece: bytes, start: int, end: int) -> None:
        self._part.header_name += piece[start:end]

    def _take_header_value(self, piece: bytes, start: int, end: int) -> None:
        self._part.header_value += piece[start:end]

    def _end_header(self) -> None:
        part = self._part
        value = text_of(bytes(part.header_value)).strip()
        if CONTROL.search(value):
            raise Malformed("The header of a part has control characters")
        part.headers[bytes(part.header_name).lower()] = value
        part.header_name.clear()
        part.header_value.clear()

    def _end_headers(self) -> None:
        part = self._part
        name, file_name = names_in(part.headers.get(b"content-disposition", ""))
        content_type = part.headers.get(b"content-type", "")
        if file_name is None and not is_field(content_type):
            file_name = name + extension_of(content_type)
        if file_name is None:
            if not name:
                raise Malformed("A part of the form has no name")
            part.name, part.content_type = name, content_type
            return
        unique = unique_name(safe_name(file_name), self._names)
        part.file = File(unique, content_type or "application/octet-stream")
        if self._digests:
            part.digest = sha256()

    def _take(self, piece: bytes, start: int, end: int) -> None:
        part = self._part
        if part.start is None:
            # What looked like a boundary across pieces is given from another buffer.
            here = piece is self._piece
            part.start = self._before + start if here else self._before - end
        part.size += end - start
        if part.file is None:
            self._held += end - start
            if self._held > MOST_FIELD_BYTES:
                text = f"The fields of a form have at most {MOST_FIELD_BYTES} bytes."
                raise TooLarge(text)
            part.content += piece[start:end]
            return
        if part.digest is not None:
            part.digest.update(memoryview(piece)[start:end])
        if self._keeps_small and part.size <= SMALL_BYTES:
            part.content += piece[start:end]

    def _end_part(self) -> None:
        part = self._part
        if part.file is None:
            value = self._read_field(part.content_type, bytes(part.content))
            self._fields.setdefault(part.name, []).append(value)
        else:
            self._end_file(part, part.file)

    def _end_file(self, part: _Part, file: File) -> None:
        file.start = part.start or 0
        file.size = part.size
        if part.digest is not None:
            file.sha256 = part.digest.hexdigest()
        if part.size <= min(SMALL_BYTES, MOST_SMALL_BYTES - self._small):
            self._small += part.size
            if self._keeps_small:
                file.content = bytes(part.content)
        else:
            self._again += file.start + part.size
        self.files.append(file)

    def _end(self) -> None:
        self._ended = True


def boundary_of(content_type: str) -> str:
    """The boundary that a content type names, or nothing."""
    _, options = parse_options_header(content_type.encode())
    return options.get(b"boundary", b"").decode("latin-1")


def _check_padding(after: bytes) -> None:
    if len(after) > MOST_PADDING and not after.strip(b" \t"):
        raise Malformed("The body is not multipart/form-data: too much space in it")
