"""Stop 3, whether a body that comes in pieces will parse: nothing of it goes to a step."""

from typing import Protocol

from hookline import bodies
from hookline.v1 import event_pb2


class BodyCheck(Protocol):
    """Whether a body parses, as its pieces come; `gathers` says whether it keeps them."""

    gathers: bool

    def feed(self, piece: bytes) -> None:
        """Take the next piece, as sent. Raises Rejected."""
        ...

    def end(self) -> None:
        """Raise Rejected where the body as a whole does not parse."""
        ...


class _Parsed:
    def __init__(self, head: event_pb2.Request, *, raw: bool) -> None:
        self.gathers = raw or bodies.is_parsed(head)
        self._head = head
        self._raw = raw
        self._body = bytearray()

    def feed(self, piece: bytes) -> None:
        if self.gathers:
            self._body += piece

    def end(self) -> None:
        whole = event_pb2.Request()
        whole.CopyFrom(self._head)
        whole.body = bytes(self._body) or b"x"
        bodies.check(whole, raw=self._raw)


def begin_check(head: event_pb2.Request, *, raw: bool, limit: int) -> BodyCheck:
    """Check the body of a request of at most `limit` bytes."""
    del limit
    return _Parsed(head, raw=raw)
