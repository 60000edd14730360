"""Before the parser: what has come on a connection, and is handed on piece by piece.

A piece ends where a head ends, or the last chunk of a body, so that the parser never meets
two requests in one. What waits here has been read, and is nothing else yet.
"""

import re
from typing import Final

END_OF_HEAD: Final = b"\r\n\r\n"
MOST_HEAD_BYTES: Final = 16 * 1024
MOST_HEADERS: Final = 100
# As nearly all write it; what is written otherwise goes in pieces.
DECLARED: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: (\d{1,9})\r\n")


def is_one_request(read: bytes) -> bool:
    """Whether a read is one whole request, or its head, as nearly all are.

    Where the parser reads its end differently, it refuses it.
    """
    end = read.find(END_OF_HEAD, 0, MOST_HEAD_BYTES)
    if end < 0:
        return False
    end += len(END_OF_HEAD)
    if end == len(read):
        return True
    declared = DECLARED.search(read, 0, end)
    return declared is not None and end + int(declared[1]) == len(read)


class Pieces:
    """Bytes that wait; false where there are none."""

    __slots__ = ("_at", "_before", "_bytes")

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0
        # The last that was taken: an end of a head may come in two reads.
        self._before = b""

    def __bool__(self) -> bool:
        return bool(self._bytes)

    def add(self, read: bytes) -> None:
        """Take in what has come."""
        self._bytes = self._bytes[self._at :] + read if self._bytes else read
        self._at = 0

    def put_back(self, piece: bytes) -> None:
        """Take back the end of what was taken last."""
        self._bytes = piece + self._bytes[self._at :]
        self._at = 0

    def drop(self) -> None:
        """Forget all of it."""
        self._bytes = b""
        self._at = 0

    def take(self, most: int) -> bytes:
        """The next bytes, at most so many."""
        piece = self._bytes[self._at : self._at + most]
        self._at += len(piece)
        if self._at >= len(self._bytes):
            self.drop()
        self._before = (self._before + piece[-3:])[-3:]
        return piece

    def take_to_end(self, most: int) -> bytes:
        """The next bytes up to an end of a head, at most so many."""
        seam = self._before + self._bytes[self._at : self._at + 3]
        if (found := seam.find(END_OF_HEAD)) >= 0:
            return self.take(min(found + len(END_OF_HEAD) - len(self._before), most))
        found = self._bytes.find(END_OF_HEAD, self._at, self._at + most)
        return self.take(found + len(END_OF_HEAD) - self._at if found >= 0 else most)
