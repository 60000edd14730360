"""What browsers ask of a flow for scripts of other sites, as the Fetch standard has it.

A preflight needs no credential and tells nothing that the flow file does not say. Answers
carry the headers too, refusals of the router included; a refusal of the edge itself (no
router, a body too slow) does not.
"""

from typing import Final

from hookline.flow import ApiKeyAuth, BasicAuth, HmacAuth, Webhook
from hookline.v1 import event_pb2
from services.router.replies import header
from services.router.static_credentials import values_of

EXPOSED: Final = (
    "x-request-id, x-event-id, x-duplicate, retry-after, ratelimit, ratelimit-policy"
)
NOTHING: Final[tuple[event_pb2.Header, ...]] = ()
VARY: Final = header("Vary", "Origin")


class CrossOrigin:
    """A flow's rules for scripts."""

    def __init__(self, webhook: Webhook) -> None:
        cors = webhook.cors
        self._origins = frozenset(cors.origins if cors else ())
        self._all = "*" in self._origins
        names = dict.fromkeys(
            name.lower()
            for name in ("content-type", *_credential_headers(webhook))
            + (cors.headers if cors else ())
        )
        self._preflight = (
            header("Access-Control-Allow-Methods", ", ".join(webhook.methods)),
            header("Access-Control-Allow-Headers", ", ".join(names)),
            header("Access-Control-Max-Age", str(int(cors.max_age if cors else 0))),
        )
        self._exposed = header("Access-Control-Expose-Headers", EXPOSED)

    def on_preflight(self, request: event_pb2.Request) -> tuple[event_pb2.Header, ...]:
        """The headers of the answer to OPTIONS."""
        allowed = self._allowed(request)
        if len(allowed) == 0 or allowed == (VARY,):
            return allowed
        return (*allowed, *self._preflight)

    def on_answer(self, request: event_pb2.Request) -> tuple[event_pb2.Header, ...]:
        """The headers of any other answer."""
        allowed = self._allowed(request)
        if len(allowed) == 0 or allowed == (VARY,):
            return allowed
        return (*allowed, self._exposed)

    def _allowed(self, request: event_pb2.Request) -> tuple[event_pb2.Header, ...]:
        origins = values_of(request, b"origin")
        if self._all:
            return (header("Access-Control-Allow-Origin", "*"),) if origins else NOTHING
        origin = origins[0].decode("latin-1").lower() if len(origins) == 1 else ""
        if origin not in self._origins:
            return (VARY,)
        return (header("Access-Control-Allow-Origin", origin), VARY)


def _credential_headers(webhook: Webhook) -> tuple[str, ...]:
    names: list[str | None] = []
    for auth in webhook.auth:
        match auth:
            case BasicAuth():
                names.append("authorization")
            case ApiKeyAuth() if auth.in_ == "header":
                names.append(auth.header)
            case HmacAuth():
                names += [auth.header, auth.timestamp_header, auth.id_header]
    return tuple(filter(None, names))
