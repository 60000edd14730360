"""HEAD and OPTIONS: what a flow says of itself to anyone, without an event.

OPTIONS has the methods, the preflight of other sites' scripts, and the CloudEvents
handshake (HTTP 1.1 Web Hooks for Event Delivery, 4): a platform that asks to deliver is
told that it may, and at which rate.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from hookline.flow import Webhook
from hookline.v1 import event_pb2
from services.router.cors import CrossOrigin
from services.router.replies import header
from services.router.static_credentials import values_of

MINUTE_S: Final = 60
WITHOUT_EVENT: Final = frozenset({"HEAD", "OPTIONS"})


class Options:
    """What is told of one flow."""

    def __init__(self, webhook: Webhook, cors: CrossOrigin | None) -> None:
        allow = header("Allow", ", ".join((*webhook.methods, *sorted(WITHOUT_EVENT))))
        self._allow = allow
        self._cors = cors
        self._hosts: Sequence[str] = webhook.handshake or ()
        rate = webhook.rate
        self._rate = (
            str(max(1, math.floor(rate.limit * MINUTE_S / rate.per_s))) if rate else "*"
        )

    def reply(self, request: event_pb2.Request) -> event_pb2.Reply:
        """The answer."""
        if request.method == "HEAD":
            return _empty(200, (self._allow,))
        granted = self._granted(request)
        cors = self._cors.on_preflight(request) if self._cors is not None else ()
        return _empty(200 if granted else 204, (self._allow, *granted, *cors))

    def _granted(self, request: event_pb2.Request) -> tuple[event_pb2.Header, ...]:
        if not self._hosts:
            return ()
        origins = values_of(request, b"webhook-request-origin")
        origin = origins[0].decode("latin-1").lower() if len(origins) == 1 else ""
        if not origin or not ("*" in self._hosts or origin in self._hosts):
            return ()
        return (
            header("WebHook-Allowed-Origin", "*" if "*" in self._hosts else origin),
            header("WebHook-Allowed-Rate", self._rate),
        )


def _empty(status: int, headers: Iterable[event_pb2.Header]) -> event_pb2.Reply:
    return event_pb2.Reply(status=status, headers=headers)
