"""Stop 4: may this sender start this flow? On raw bytes, in constant time.

Any one of a trigger's credentials lets a sender in. What can be told from the head alone
is told before the body is read.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from hookline.errors import Unauthenticated
from hookline.flow import ApiKeyAuth, Auth, BasicAuth, HmacAuth, NoAuth
from hookline.v1 import event_pb2
from services.router.signatures import HmacCheck
from services.router.static_credentials import ApiKeyCheck, BasicCheck, Known

Clock = Callable[[], float]


class Signature(Protocol):
    """One credential of a request whose body comes in pieces; it keeps none of them."""

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body, as sent."""
        ...

    def end(self) -> str | None:
        """Why this credential does not match the body; None where it does."""
        ...


class Check(Protocol):
    """One credential. `challenge` is for WWW-Authenticate; empty where there is none.

    A text says why it does not match. What can be guessed tells which one was right.
    """

    challenge: str

    def verify_head(self, request: event_pb2.Request) -> str | Known | None:
        """Why this credential cannot match, whatever the body."""
        ...

    def verify(self, request: event_pb2.Request) -> str | Known | None:
        """Why this credential does not match."""
        ...

    def begin(self, request: event_pb2.Request) -> Signature | None:
        """Verify a body as it comes, where the head may pass; None where it says all."""
        ...


class NoCheck:
    """Everyone may."""

    challenge = ""

    def verify_head(self, _request: event_pb2.Request) -> str | None:
        """Let everyone pass."""
        return None

    def verify(self, _request: event_pb2.Request) -> str | None:
        """Let everyone in."""
        return None

    def begin(self, _request: event_pb2.Request) -> None:
        """The head says it all."""


class Verifier:
    """A trigger's credentials."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        challenges = dict.fromkeys(check.challenge for check in checks)
        self._challenges = tuple(filter(None, challenges))

    def verify_head(self, request: event_pb2.Request) -> Known | None:
        """Raise Unauthenticated where no body could make this request pass."""
        causes = []
        for check in self._checks:
            cause = check.verify_head(request)
            if not isinstance(cause, str):
                return cause
            causes.append(cause)
        raise Unauthenticated("; ".join(causes), self._challenges)

    def verify(self, request: event_pb2.Request) -> Known | None:
        """Raise Unauthenticated unless one of the credentials matches."""
        causes = []
        for check in self._checks:
            cause = check.verify(request)
            if not isinstance(cause, str):
                return cause
            causes.append(cause)
        raise Unauthenticated("; ".join(causes), self._challenges)

    def begin(self, request: event_pb2.Request) -> "Signatures":
        """Verify a body as it comes. Raises Unauthenticated as `verify_head` does."""
        causes: list[str] = []
        live: list[Signature] = []
        for check in self._checks:
            cause = check.verify_head(request)
            if isinstance(cause, str):
                causes.append(cause)
            elif (signature := check.begin(request)) is None:
                return Signatures([], [], (), cause)
            else:
                live.append(signature)
        if not live:
            raise Unauthenticated("; ".join(causes), self._challenges)
        return Signatures(live, causes, self._challenges)


class Signatures:
    """A trigger's credentials, of a request whose body comes in pieces."""

    def __init__(
        self,
        live: Sequence[Signature],
        causes: list[str],
        challenges: tuple[str, ...],
        right: Known | None = None,
    ) -> None:
        self.right = right
        self._live = live
        self._causes = causes
        self._challenges = challenges

    @property
    def decided(self) -> bool:
        """Whether the head has let the sender in: the body says nothing about it."""
        return not self._live

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body, as sent."""
        for one in self._live:
            one.update(piece)

    def end(self) -> None:
        """Raise Unauthenticated unless one of the credentials matches."""
        causes = list(self._causes)
        for one in self._live:
            cause = one.end()
            if cause is None:
                return
            causes.append(cause)
        if causes:
            raise Unauthenticated("; ".join(causes), self._challenges)


def has_credentials(auth: Sequence[Auth]) -> bool:
    """Whether there is anything that a sender can be wrong with."""
    return not any(isinstance(one, NoAuth) for one in auth)


def can_be_guessed(auth: Sequence[Auth]) -> bool:
    """Whether one of a trigger's credentials can be guessed, one try after the other."""
    return any(isinstance(one, BasicAuth | ApiKeyAuth) for one in auth)


def signatures_of(auth: Sequence[Auth]) -> Sequence[Auth]:
    """Those of a trigger's credentials that nobody can guess."""
    return [one for one in auth if isinstance(one, HmacAuth)]


def build_verifier(
    auth: Sequence[Auth],
    secret: Callable[[str], str],
    public_url: str = "",
    now: Clock = time.time,
) -> Verifier:
    """The verifier of a trigger; its secrets are looked up now. Raises MissingSecret."""
    return Verifier([_check(one, secret, public_url, now) for one in auth])


def _check(
    auth: Auth, secret: Callable[[str], str], public_url: str, now: Clock
) -> Check:
    match auth:
        case NoAuth():
            return NoCheck()
        case BasicAuth():
            passwords = [one.resolve(secret) for one in auth.password]
            return BasicCheck(auth.username, passwords)
        case ApiKeyAuth():
            return ApiKeyCheck(auth, [one.resolve(secret) for one in auth.value])
        case HmacAuth():
            keys = [one.resolve(secret) for one in auth.secret]
            return HmacCheck(auth, keys, public_url, now)
