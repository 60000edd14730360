"""Senders that wait with their body until they are asked for it (`Expect: 100-continue`).

They are asked when the body is about to be read, and not at all where it is refused from
its head: that is what they wait for.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from hookline.v1 import event_pb2

CONTINUE: Final = "100-continue"
INVITATION: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def invitation(http: web.BaseRequest) -> Callable[[], None] | None:
    """What asks the sender for the body; None where that is not waited for."""
    expected = http.headers.get(hdrs.EXPECT, "")
    if expected.lower() != CONTINUE or http.version != HttpVersion11:
        return None
    return partial(_invite, http)


def waits(head: event_pb2.Request) -> bool:
    """Whether the sender of a head waits to be asked for the body."""
    return any(
        header.name.lower() == b"expect" and header.value.lower() == CONTINUE.encode()
        for header in head.headers
    )


def _invite(http: web.BaseRequest) -> None:
    if http.transport is not None:
        http.transport.write(INVITATION)
