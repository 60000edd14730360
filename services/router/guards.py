"""Stop 4, before the credentials: how often a sender has been wrong.

Each source has, for each flow, a budget of wrong credentials: some at once, then so many a
second. Beyond it:

- What can be guessed (Basic, API keys), and what has its body still on its way, is refused
  at once: nothing is compared, computed or read. So an address tries about one password a
  second.
- But a source whose credential was right before keeps its standing, and so does everybody
  behind the same address: the very credential that was right from there still gets in,
  beside any number of wrong ones, and so do signatures. Another one does not, right or
  wrong: whoever has one credential of a flow cannot guess at the others. An attacker
  cannot shut out the senders it shares an address with, nor can one broken sender behind a
  NAT; nor, where a proxy is not among the trusted ones, can anyone on the internet shut
  out all. What that costs: who shares an address with a sender may guess at that one
  credential as fast as it is answered.
- A signature over a small body is always checked: it cannot be guessed, and its digest
  costs less than the answer.

The budget is of the pair of source and flow: who is wrong on one flow loses nothing on
another. A flow with what can be guessed has one over all sources, besides, fifty times as
large; beyond it those go on that have a standing. What is kept is bounded. Refusals within
the budget are 401, beyond it 429.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, Protocol

from hookline.errors import Error, Overloaded, Unauthenticated
from hookline.sources import source_of
from hookline.telemetry import Sampled, get_logger
from hookline.v1 import event_pb2
from services.router.rates import Bucket, Clock
from services.router.sources import MOST_SOURCES
from services.router.static_credentials import Known

logger = get_logger(__name__)
FAILURES: Final = 20
FAILURES_PER_S: Final = 1.0
MOST_RIGHT: Final = 1024
# Of all sources together, of what can be guessed.
CEILING: Final = 50
# Credentials that were right from one source; of more the first ones are forgotten.
MOST_KNOWN: Final = 64
TOO_OFTEN: Final = "Too many wrong credentials came from this address: mend them first."
Pair = tuple[str, str]
# What was right, by source; signatures leave no more than the source.
Standing = dict[str, dict[Known, None]]
TooOften = Callable[[float], Error]


class Signed(Protocol):
    """Credentials of a request whose body comes in pieces."""

    @property
    def decided(self) -> bool:
        """Whether the head has let the sender in."""
        ...

    @property
    def right(self) -> Known | None:
        """Which one has let it in, of those that can be guessed."""
        ...

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body, as sent."""
        ...

    def end(self) -> None:
        """Raise Unauthenticated unless one of the credentials matches."""
        ...


class Ending:
    """The same, with what is to be done at the end."""

    def __init__(self, inner: Signed, end: Callable[[Signed], None]) -> None:
        self.decided = inner.decided
        self.right = inner.right
        self.update = inner.update
        self._inner = inner
        self._end = end

    def end(self) -> None:
        """Raise Unauthenticated, or what stands for it."""
        self._end(self._inner)


class Verifies(Protocol):
    """Credentials, with or without what stands before them.

    They tell which one was right, of those that can be guessed.
    """

    def verify_head(self, request: event_pb2.Request) -> Known | None:
        """Raise where no body could make this request pass."""
        ...

    def verify(self, request: event_pb2.Request) -> Known | None:
        """Raise unless one of the credentials matches."""
        ...

    def begin(self, request: event_pb2.Request) -> Signed:
        """Verify a body as it comes, of a request whose head has passed."""
        ...


class Failures:
    """How often sources were wrong, by flow and source, and which were right."""

    def __init__(
        self,
        most: int = FAILURES,
        per_s: float = FAILURES_PER_S,
        now: Clock = time.monotonic,
    ) -> None:
        self._most = most
        self._fill_s = most / per_s
        self._now = now
        self._right: dict[str, Standing] = {}
        self._of_flows: dict[str, Bucket] = {}
        self._lines = Sampled(logger, 1, "warning")
        self.buckets: OrderedDict[Pair, Bucket] = OrderedDict()

    def wait_s(self, pair: Pair) -> float:
        """Seconds until a source may be wrong again; 0 where it may be now."""
        bucket = self.buckets.get(pair)
        return bucket.wait_s() if bucket is not None else 0.0

    def failed(self, pair: Pair) -> None:
        """Count a wrong credential."""
        bucket = self.buckets.get(pair)
        if bucket is None:
            bucket = self.buckets[pair] = Bucket(self._most, self._fill_s, self._now)
            if len(self.buckets) > MOST_SOURCES:
                self.buckets.popitem(last=False)
        else:
            self.buckets.move_to_end(pair)
        bucket.take()

    def ceiling_s(self, flow_id: str) -> float:
        """Seconds until any source may guess again at a flow; 0 where it may be now."""
        bucket = self._of_flows.get(flow_id)
        return bucket.wait_s() if bucket is not None else 0.0

    def guessed(self, flow_id: str) -> None:
        """Count a wrong credential that can be guessed, wherever it came from."""
        bucket = self._of_flows.get(flow_id)
        if bucket is None:
            most = self._most * CEILING
            bucket = self._of_flows[flow_id] = Bucket(most, self._fill_s, self._now)
        bucket.take()
        if bucket.wait_s():
            self._lines.line("flow.guessed_at", flow_id=flow_id)

    def standing(self, flow_id: str) -> Standing:
        """The sources that were right on a flow; they outlive its versions."""
        return self._right.setdefault(flow_id, {})


class Throttled:
    """Credentials of a flow, of which a source may send so many wrong ones.

    `signatures` are those of them that cannot be guessed, if there are any; `too_often`
    makes the refusal of what is beyond the budget from the seconds until it has room.
    """

    def __init__(
        self,
        flow_id: str,
        inner: Verifies,
        signatures: Verifies | None,
        failures: Failures,
        too_often: TooOften,
        *,
        can_be_guessed: bool = True,
    ) -> None:
        self._flow_id = flow_id
        self._inner = inner
        self._signatures = signatures
        self._failures = failures
        self._too_often = too_often
        self._can_be_guessed = can_be_guessed
        self._right = failures.standing(flow_id)

    def verify_head(self, request: event_pb2.Request) -> Known | None:
        """Raise Unauthenticated, or what `too_often` makes."""
        source = source_of(request.remote)
        wait_s = self._wait_s(source)
        if wait_s and source not in self._right:
            raise self._too_often(wait_s)
        if wait_s:
            return self._beyond(source, wait_s, lambda one: one.verify_head(request))
        try:
            right = self._inner.verify_head(request)
        except Unauthenticated as error:
            self._failed(source, error, wait_s)
        if right is not None:
            self._passed(source, right)
        return right

    def verify(self, request: event_pb2.Request) -> Known | None:
        """Raise Unauthenticated, or what `too_often` makes."""
        source = source_of(request.remote)
        # Nobody is wrong, most of the time.
        wait_s = self._wait_s(source) if self._failures.buckets else 0.0
        if wait_s:
            right = self._beyond(source, wait_s, lambda one: one.verify(request))
        else:
            try:
                right = self._inner.verify(request)
            except Unauthenticated as error:
                self._failed(source, error, wait_s)
        self._passed(source, right)
        return right

    def begin(self, request: event_pb2.Request) -> Signed:
        """Verify a body as it comes; the head was within the budget."""
        source = source_of(request.remote)
        wait_s = self._wait_s(source)
        begun = self._inner.begin(request)
        if wait_s and not self._is_known(source, begun.right):
            if self._signatures is None:
                raise self._too_often(wait_s)
            begun = self._signatures.begin(request)

        def end(signed: Signed) -> None:
            try:
                signed.end()
            except Unauthenticated as error:
                self._failed(source, error, self._wait_s(source))
            self._passed(source, signed.right)

        return Ending(begun, end)

    def _beyond(
        self, source: str, wait_s: float, check: Callable[[Verifies], Known | None]
    ) -> Known | None:
        """Check what was right before from a source, and what cannot be guessed."""
        if source in self._right:
            with suppress(Unauthenticated):
                right = check(self._inner)
                if self._is_known(source, right):
                    return right
        if self._signatures is None:
            raise self._too_often(wait_s)
        try:
            return check(self._signatures)
        except Unauthenticated as error:
            raise self._too_often(wait_s) from error

    def _is_known(self, source: str, right: Known | None) -> bool:
        return right is None or right in self._right.get(source, ())

    def _wait_s(self, source: str) -> float:
        wait_s = self._failures.wait_s((self._flow_id, source))
        if self._can_be_guessed and not wait_s:
            return self._failures.ceiling_s(self._flow_id)
        return wait_s

    def _failed(self, source: str, error: Unauthenticated, wait_s: float) -> NoReturn:
        if wait_s:
            raise self._too_often(wait_s) from error
        self._failures.failed((self._flow_id, source))
        if self._can_be_guessed:
            self._failures.guessed(self._flow_id)
        raise error

    def _passed(self, source: str, right: Known | None) -> None:
        before = self._right.get(source)
        if before is None:
            before = self._right[source] = {}
            if len(self._right) > MOST_RIGHT:
                del self._right[next(iter(self._right))]
        if right is not None and right not in before:
            before[right] = None
            if len(before) > MOST_KNOWN:
                del before[next(iter(before))]


def told(wait_s: float) -> Error:
    """The sender is told when to come back."""
    return Overloaded(TOO_OFTEN, max(1, math.ceil(wait_s)))


def untold(_wait_s: float) -> Error:
    """The sender is told nothing: its flow is concealed."""
    return Unauthenticated(TOO_OFTEN)
