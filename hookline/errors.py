"""What can go wrong, as one short tree; each says whether trying again is safe.

Error
├─ Rejected             the sender's to fix; the same request fails again
│  ├─ UnknownFlow           no such flow
│  ├─ MethodNotAllowed      the flow does not take this method
│  ├─ Unauthenticated       credential missing or wrong
│  ├─ Malformed             the body does not parse as its content type
│  │  └─ BrokeOff               it ended before its end
│  ├─ MissingContentType    a body without a content type
│  ├─ UnsupportedCoding     a content coding that is not known, or too many of them
│  ├─ TooLarge              over the limit
│  ├─ HeadTooLarge          too many headers, or too long ones
│  ├─ Conflict              the same idempotency key as before, with another body
│  └─ TooSlow               headers or body did not arrive in time
├─ Overloaded           the flow's or the sender's limit; safe to retry, not before its time
├─ Unavailable          ours; safe to retry later, but the event may be in the log already
│  └─ NotAppended           the same, and it is not in the log
├─ MissingSecret        a secret that a flow names is nowhere to be found
├─ BadConfiguration     a setting, a port or a directory; exit code 78
└─ StepError            raised by components
   ├─ RetryableError        again, perhaps after a given time
   └─ TerminalError         do not; the execution fails
"""


class Error(Exception):
    """Everything Hookline raises on purpose; its text is a sentence for a person."""


class Rejected(Error):
    """The sender's to fix; the same request fails again."""


class UnknownFlow(Rejected):
    """There is no flow with this id, or it is not served."""


class MethodNotAllowed(Rejected):
    """The flow does not take this method; `allowed` are those it takes."""

    def __init__(self, text: str, allowed: tuple[str, ...]) -> None:
        super().__init__(text)
        self.allowed = allowed


class Unauthenticated(Rejected):
    """The credential is missing or wrong; `challenges` are for WWW-Authenticate.

    `cause` says why, for the flow's owner; the sender is never told. `weighed` tells
    whether a digest over the body was computed to find that out.
    """

    weighed = False

    def __init__(self, cause: str, challenges: tuple[str, ...] = ()) -> None:
        super().__init__("Send the credential that this flow asks for.")
        self.cause = cause
        self.challenges = challenges


class Malformed(Rejected):
    """The body does not parse as its content type."""


class BrokeOff(Malformed):
    """The body ended before its end, or its framing broke."""


class MissingContentType(Rejected):
    """There is a body and no Content-Type."""


class UnsupportedCoding(Rejected):
    """The body's content codings are none that are undone here."""


class TooLarge(Rejected):
    """The body is over the limit."""


class HeadTooLarge(Rejected):
    """Too many headers, or too long ones."""


class Conflict(Rejected):
    """The idempotency key was used for another body."""


class TooSlow(Rejected):
    """Headers or body did not arrive in time."""


class Overloaded(Error):
    """More than the flow, or this sender, is allowed. Safe to retry after that time.

    `limits` are further headers of the answer, such as RateLimit-Policy.
    """

    def __init__(
        self, text: str, retry_after_s: int, limits: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.limits = limits


class Unavailable(Error):
    """The log does not take it now. Safe to retry; it may be in the log already."""


class NotAppended(Unavailable):
    """The log did not even begin to take it: it is not there, nor will it be."""


class MissingSecret(Error):
    """A secret that is named is in no place where secrets are looked for."""

    def __init__(self, *names: str) -> None:
        variables = " ".join(f"HOOKLINE_SECRET_{name}" for name in names)
        plural = "s" if len(names) > 1 else ""
        super().__init__(
            f"missing secret{plural}: set {variables} where Hookline runs, or put "
            f"file{plural} {' '.join(names)} into its HOOKLINE_SECRETS_DIR"
        )
        self.names = names


class BadConfiguration(Error):
    """A setting, a port or a directory that cannot be used as it is."""


class StepError(Error):
    """An attempt of a step has failed."""


class RetryableError(StepError):
    """The same attempt may succeed later, not before `retry_after_s` where given."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class TerminalError(StepError):
    """No attempt will succeed; `indeterminate` where the work may be done already."""

    def __init__(self, text: str, *, indeterminate: bool = False) -> None:
        super().__init__(text)
        self.indeterminate = indeterminate
