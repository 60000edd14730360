"""How a flow's refusals look: as they are, as the flow has set, or as if it did not exist.

The true reason goes to metrics, log and rejections in any case. What is ours to mend (503)
is never dressed up: a sender that took it for its own mistake would not send again. A
concealed flow (`conceal: true`) answers whoever has not shown its credential as an unknown
flow is answered: in status, headers and body, after the same look into the log, and after
as much work, which is one digest over the body. A body that is on its way is read as far
in either case (unread.py).
"""

import hmac
import os
from collections.abc import Callable
from typing import Final, Protocol

from hookline.errors import (
    BrokeOff,
    Error,
    MethodNotAllowed,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnknownFlow,
)
from hookline.flow_answers import OnReject
from hookline.outcomes import rejection
from hookline.v1 import event_pb2
from services.router.guards import Ending, Signed, Verifies
from services.router.replies import content_of, header
from services.router.static_credentials import Known, matches_any, values_of

NO_FLOW: Final = "There is no flow with this id: check the URL, or apply the flow."
# What is judged before a sender has shown its credential.
HIDDEN: Final = (
    UnknownFlow,
    MethodNotAllowed,
    Unauthenticated,
    TooLarge,
    TooSlow,
    BrokeOff,
)
# How often a refused signature has its headers looked through, and, as measured, what else
# it costs; less where a credential was looked for already.
LOOKS: Final = 6
AFTER_A_LOOK: Final = 3
# A larger body is digested as it comes, and that is not waited for at its end.
MOST_AT_ONCE: Final = 256 * 1024
KEPT: Final = frozenset({b"retry-after", b"ratelimit", b"ratelimit-policy"})


class Asked(Protocol):
    """What is told of a request."""

    @property
    def request_id(self) -> str:
        """Its own id."""
        ...

    @property
    def flow_id(self) -> str:
        """The flow it names."""
        ...


class Refusals:
    """Refusals that look as they are."""

    def hides(self, _error: Error) -> bool:
        """Whether a refusal must not tell that there is such a flow."""
        return False

    def outcome(self, asked: Asked, error: Error) -> event_pb2.Outcome:
        """What the sender is told."""
        return rejection(asked.request_id, error)


class Dressed(Refusals):
    """Refusals that all look alike (`on_reject`)."""

    def __init__(self, look: OnReject) -> None:
        content_type, body = content_of(look.body)
        headers = [header(name, value) for name, value in look.headers.items()]
        if content_type and not any(h.name.lower() == b"content-type" for h in headers):
            headers.insert(0, header("Content-Type", content_type))
        self._reply = event_pb2.Reply(status=look.status, headers=headers, body=body)

    def outcome(self, asked: Asked, error: Error) -> event_pb2.Outcome:
        """The flow's look, with the headers that say when to come back."""
        outcome = rejection(asked.request_id, error)
        if isinstance(error, Unavailable):
            return outcome
        rejected = outcome.rejected
        kept = [one for one in rejected.headers if one.name.lower() in KEPT]
        del rejected.headers[:]
        rejected.headers.extend(kept)
        rejected.reply.CopyFrom(self._reply)
        return outcome


class Decoy:
    """The work that a refused signature costs, done where there is none to check."""

    def __init__(self) -> None:
        self._keyed = hmac.new(os.urandom(32), digestmod="sha256")
        self._known = [os.urandom(32)]
        self._dropped = memoryview(bytes(MOST_AT_ONCE))

    def spend(self, request: event_pb2.Request, looks: int) -> None:
        """Do it over a request's body, looking so many times through its headers.

        Of a body that was dropped the size alone is here; any bytes cost as much.
        """
        for _ in range(looks):
            values_of(request, b"x-eio-signature")
        digest = self._keyed.copy()
        size = request.stored_body.size
        if not size:
            digest.update(request.body)
        elif size <= MOST_AT_ONCE:
            digest.update(self._dropped[:size])
        matches_any(digest.digest(), self._known)


class Concealed(Refusals):
    """Refusals of a flow that is not to be found (`conceal`)."""

    def __init__(self, decoy: Decoy) -> None:
        self._decoy = decoy

    def hides(self, error: Error) -> bool:
        """All that comes before the sender has shown its credential."""
        return isinstance(error, HIDDEN)

    def outcome(self, asked: Asked, error: Error) -> event_pb2.Outcome:
        """As an unknown flow is answered."""
        if not self.hides(error):
            return rejection(asked.request_id, error)
        weighed = isinstance(error, Unauthenticated) and error.weighed
        if isinstance(asked, event_pb2.Request) and not weighed:
            self._decoy.spend(asked, AFTER_A_LOOK)
        return rejection(asked.request_id, UnknownFlow(NO_FLOW))


class Unknown(Refusals):
    """Refusals of flows that do not exist; as much work as those that are concealed."""

    def __init__(self, decoy: Decoy, conceals: Callable[[], bool]) -> None:
        self._decoy = decoy
        self._conceals = conceals

    def outcome(self, asked: Asked, error: Error) -> event_pb2.Outcome:
        """No such flow; where none is concealed, at no cost."""
        if isinstance(asked, event_pb2.Request) and self._conceals():
            self._decoy.spend(asked, LOOKS)
        return rejection(asked.request_id, error)


class Weighing:
    """Credentials that tell of a refusal whether a digest was computed for it."""

    def __init__(self, inner: Verifies) -> None:
        self._inner = inner

    def verify_head(self, request: event_pb2.Request) -> Known | None:
        """Verify what the head tells."""
        return self._inner.verify_head(request)

    def verify(self, request: event_pb2.Request) -> Known | None:
        """Verify; what passes the head and is refused then was computed."""
        self._inner.verify_head(request)
        try:
            return self._inner.verify(request)
        except Unauthenticated as error:
            error.weighed = True
            raise

    def begin(self, request: event_pb2.Request) -> Signed:
        """Verify a body as it comes: it is weighed in any case."""

        def end(signed: Signed) -> None:
            try:
                signed.end()
            except Unauthenticated as error:
                error.weighed = True
                raise

        return Ending(self._inner.begin(request), end)
