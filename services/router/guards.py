"""Stop 4, before the credentials: where a sender is, and how often it has been wrong.

Each source has, for each flow, a budget of wrong credentials: some at once, then so many a
second. Beyond it:

- What can be guessed (Basic, API keys), and what has its body still on its way, is refused
  at once: nothing is compared, computed or read. So an address tries about one password a
  second.
- But a source whose credential was right before, or is right in between, keeps its
  standing, and so does everybody behind the same address: theirs are still checked, which
  costs less than the answer, and only the wrong ones are refused. An attacker cannot shut
  out the senders it shares an address with, nor can one broken sender behind a NAT; nor,
  where a proxy is not among the trusted ones, can anyone on the internet shut out all.
- A signature over a small body is always checked: it cannot be guessed, and its digest
  costs less than the answer.

The budget is of the pair of source and flow: who is wrong on one flow loses nothing on
another. What is kept is bounded. Refusals within the budget are 401, beyond it 429.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Protocol

from hookline.errors import Error, Overloaded, Unauthenticated
from hookline.flow_admission import Network
from hookline.v1 import event_pb2
from services.router.rates import Bucket, Clock
from services.router.sources import MOST_SOURCES, address_of, source_of

FAILURES: Final = 20
FAILURES_PER_S: Final = 1.0
MOST_RIGHT: Final = 1024
TOO_OFTEN: Final = "Too many wrong credentials came from this address: mend them first."
Pair = tuple[str, str]
Standing = dict[str, None]
TooOften = Callable[[float], Error]


class Signed(Protocol):
    """Credentials of a request whose body comes in pieces."""

    @property
    def gathers(self) -> bool:
        """Whether the pieces are kept."""
        ...

    @property
    def decided(self) -> bool:
        """Whether the head has let the sender in."""
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
        self.gathers = inner.gathers
        self.decided = inner.decided
        self.update = inner.update
        self._inner = inner
        self._end = end

    def end(self) -> None:
        """Raise Unauthenticated, or what stands for it."""
        self._end(self._inner)


class Verifies(Protocol):
    """Credentials, with or without what stands before them."""

    def verify_head(self, request: event_pb2.Request) -> None:
        """Raise where no body could make this request pass."""
        ...

    def verify(self, request: event_pb2.Request) -> None:
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

    def standing(self, flow_id: str) -> Standing:
        """The sources that were right on a flow; they outlive its versions."""
        return self._right.setdefault(flow_id, {})


class AllowedNetworks:
    """The networks that a flow's senders must be in."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        self._known: OrderedDict[str, bool] = OrderedDict()

    def check(self, remote: str) -> None:
        """Raise Unauthenticated where an address is in none of them."""
        allowed = self._known.get(remote)
        if allowed is None:
            allowed = self._known[remote] = self._allows(remote)
            if len(self._known) > MOST_SOURCES:
                self._known.popitem(last=False)
        if not allowed:
            sender = remote or "the sender"
            raise Unauthenticated(f"{sender} is in none of the networks of allow_from")

    def _allows(self, remote: str) -> bool:
        address = address_of(remote)
        return address is not None and any(address in one for one in self._networks)


class Near:
    """Credentials of a flow that takes senders from some networks only."""

    def __init__(self, inner: Verifies, networks: Sequence[Network]) -> None:
        self._inner = inner
        self._networks = AllowedNetworks(networks)

    def verify_head(self, request: event_pb2.Request) -> None:
        """Raise where the sender is elsewhere, too."""
        self._networks.check(request.remote)
        self._inner.verify_head(request)

    def verify(self, request: event_pb2.Request) -> None:
        """Raise where the sender is elsewhere, too."""
        self._networks.check(request.remote)
        self._inner.verify(request)

    def begin(self, request: event_pb2.Request) -> Signed:
        """Verify a body as it comes; the head has told where the sender is."""
        return self._inner.begin(request)


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
    ) -> None:
        self._flow_id = flow_id
        self._inner = inner
        self._signatures = signatures
        self._failures = failures
        self._too_often = too_often
        self._right = failures.standing(flow_id)

    def verify_head(self, request: event_pb2.Request) -> None:
        """Raise Unauthenticated, or what `too_often` makes."""
        source = source_of(request.remote)
        wait_s = self._wait_s(source)
        if wait_s and source not in self._right:
            raise self._too_often(wait_s)
        try:
            self._inner.verify_head(request)
        except Unauthenticated as error:
            self._failed(source, error, wait_s)

    def verify(self, request: event_pb2.Request) -> None:
        """Raise Unauthenticated, or what `too_often` makes."""
        source = source_of(request.remote)
        # Nobody is wrong, most of the time.
        wait_s = self._wait_s(source) if self._failures.buckets else 0.0
        checked: Verifies | None = self._inner
        if wait_s and source not in self._right:
            checked = self._signatures
        if checked is None:
            raise self._too_often(wait_s)
        try:
            checked.verify(request)
        except Unauthenticated as error:
            self._failed(source, error, wait_s)
        if source not in self._right:
            self._passed(source)

    def begin(self, request: event_pb2.Request) -> Signed:
        """Verify a body as it comes; the head was within the budget."""
        source = source_of(request.remote)

        def end(signed: Signed) -> None:
            try:
                signed.end()
            except Unauthenticated as error:
                self._failed(source, error, self._wait_s(source))
            if source not in self._right:
                self._passed(source)

        return Ending(self._inner.begin(request), end)

    def _wait_s(self, source: str) -> float:
        return self._failures.wait_s((self._flow_id, source))

    def _failed(self, source: str, error: Unauthenticated, wait_s: float) -> NoReturn:
        if wait_s:
            raise self._too_often(wait_s) from error
        self._failures.failed((self._flow_id, source))
        raise error

    def _passed(self, source: str) -> None:
        self._right[source] = None
        if len(self._right) > MOST_RIGHT:
            del self._right[next(iter(self._right))]


def told(wait_s: float) -> Error:
    """The sender is told when to come back."""
    return Overloaded(TOO_OFTEN, max(1, math.ceil(wait_s)))


def untold(_wait_s: float) -> Error:
    """The sender is told nothing: its flow is concealed."""
    return Unauthenticated(TOO_OFTEN)
