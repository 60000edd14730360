"""What stands before the credentials: a budget of wrong ones, and networks."""

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from hookline.errors import Error, Overloaded, Unauthenticated
from hookline.v1 import event_pb2
from services.router.guards import Failures, Throttled, told, untold
from services.router.networks import Near
from services.router.static_credentials import Known
from tests.clocks import Clock


class Asked:
    """Credentials that are right where the body says so; counts how often it is asked.

    Each body that begins with "right" is one that can be guessed, unless told otherwise.
    """

    def __init__(self, *, can_be_guessed: bool = True) -> None:
        self.times = 0
        self._can_be_guessed = can_be_guessed

    def verify_head(self, request: event_pb2.Request) -> Known | None:
        return self.verify(request)

    def verify(self, request: event_pb2.Request) -> Known | None:
        self.times += 1
        if not request.body.startswith(b"right"):
            raise Unauthenticated("wrong")
        return Known(request.body) if self._can_be_guessed else None

    def begin(self, request: event_pb2.Request) -> "Arriving":
        return Arriving(self, request)


class Signatures(Asked):
    """Signatures that are right where the body says so."""

    def verify(self, request: event_pb2.Request) -> Known | None:
        if request.body != b"signed":
            raise Unauthenticated("wrong")
        return None


class Arriving:
    """The same of a body that comes in pieces: it is judged at the end."""

    decided = False
    right = None

    def __init__(self, asked: Asked, request: event_pb2.Request) -> None:
        self._asked = asked
        self._request = request

    def update(self, piece: bytes) -> None:
        self._request.body += piece

    def end(self) -> None:
        self._asked.verify(self._request)


def request(body: bytes = b"wrong", remote: str = "192.0.2.1") -> event_pb2.Request:
    return event_pb2.Request(flow_id="one", remote=remote, body=body)


def refusal(
    verify: Callable[[event_pb2.Request], object], asked: event_pb2.Request
) -> type[Error] | None:
    try:
        verify(asked)
    except Error as error:
        return type(error)
    return None


def throttled(
    inner: Asked,
    signatures: Asked | None = None,
    clock: Clock | None = None,
    flow_id: str = "one",
    failures: Failures | None = None,
    *,
    can_be_guessed: bool = True,
) -> Throttled:
    failures = failures or Failures(3, 0.5, clock or Clock())
    return Throttled(
        flow_id, inner, signatures, failures, told, can_be_guessed=can_be_guessed
    )


@pytest.mark.security("S24", "S43")
def test_beyond_the_budget_nothing_is_looked_at() -> None:
    """Three wrong ones are 401; after them not even the right one is compared."""
    inner = Asked()
    guard = throttled(inner)

    first = [refusal(guard.verify, request()) for _ in range(3)]
    then = [refusal(guard.verify, request(body)) for body in (b"wrong", b"right")]

    assert first == [Unauthenticated] * 3
    assert then == [Overloaded] * 2
    assert inner.times == 3


def test_a_source_may_be_wrong_again_after_the_time_it_is_told() -> None:
    """Half a try a second: told two seconds, and heard after them."""
    clock = Clock()
    guard = throttled(Asked(), clock=clock)
    for _ in range(3):
        refusal(guard.verify, request())

    with pytest.raises(Overloaded) as refused:
        guard.verify(request(b"right"))
    assert refused.value.retry_after_s == 2
    clock.seconds += 2
    assert refusal(guard.verify, request(b"right")) is None


def test_a_source_that_was_right_keeps_getting_in_beside_wrong_ones() -> None:
    """One address, shared: the wrong ones are refused, the right ones are not."""
    guard = throttled(Asked())
    guard.verify(request(b"right"))
    for _ in range(100):
        refusal(guard.verify, request())

    assert refusal(guard.verify, request()) is Overloaded
    assert refusal(guard.verify, request(b"right")) is None
    assert refusal(guard.verify_head, request(b"right")) is None


@pytest.mark.security("S24", "S43")
def test_who_has_one_credential_cannot_guess_at_the_others() -> None:
    """Beyond the budget the one that was right before gets in, and no other."""
    clock = Clock()
    guard = throttled(Asked(), clock=clock)
    guard.verify(request(b"right"))
    for _ in range(3):
        refusal(guard.verify, request())

    guesses = [b"wrong", b"right of another"]
    for verify in (guard.verify, guard.verify_head):
        assert [refusal(verify, request(one)) for one in guesses] == [Overloaded] * 2
        assert refusal(verify, request(b"right")) is None
    clock.seconds += 2
    assert refusal(guard.verify, request(b"right of another")) is None
    assert refusal(guard.verify, request()) is Unauthenticated
    assert refusal(guard.verify, request(b"right of another")) is None


def test_a_signature_gets_in_beside_guesses_from_a_source_in_standing() -> None:
    """What was right there before was a password; the signature is checked as well."""
    guard = throttled(Asked(), Signatures())
    guard.verify(request(b"right"))
    for _ in range(10):
        refusal(guard.verify, request())

    assert refusal(guard.verify, request(b"right of another")) is Overloaded
    for verify in (guard.verify, guard.verify_head):
        assert refusal(verify, request(b"signed")) is None


@pytest.mark.security("S24", "S43")
def test_all_sources_together_guess_no_faster_than_a_ceiling() -> None:
    """Each of many is within its budget; beyond the ceiling those in standing go on."""
    inner, clock = Asked(), Clock()
    failures = Failures(3, 0.5, clock)
    guard = throttled(inner, failures=failures)
    other = throttled(Asked(), flow_id="two", failures=failures)
    guard.verify(request(b"right", "192.0.2.1"))
    inner.times = 0
    for number in range(1000):
        refusal(guard.verify, request(remote=f"198.51.100.{number}"))

    assert inner.times == 150
    assert refusal(guard.verify, request(b"right", "192.0.2.2")) is Overloaded
    assert refusal(guard.verify_head, request(b"right", "192.0.2.2")) is Overloaded
    assert refusal(guard.verify, request(b"right", "192.0.2.1")) is None
    assert refusal(other.verify, request(b"right", "192.0.2.2")) is None
    clock.seconds += 1
    assert refusal(guard.verify, request(b"right", "192.0.2.2")) is None


def test_a_signature_over_a_body_that_is_here_is_always_checked() -> None:
    """Right after any number of wrong ones, from an address never heard of before."""
    inner, signatures = Asked(), Asked(can_be_guessed=False)
    guard = throttled(inner, signatures)
    for _ in range(100):
        refusal(guard.verify, request())

    assert refusal(guard.verify, request()) is Overloaded
    assert refusal(guard.verify_head, request(b"right")) is Overloaded
    assert refusal(guard.verify, request(b"right")) is None
    assert inner.times == 3


def test_the_budget_is_of_one_source_and_one_flow() -> None:
    """Another source on this flow, and this source on another, are heard as before."""
    failures = Failures(3, 0.5, Clock())
    guard = throttled(Asked(), failures=failures)
    other = throttled(Asked(), flow_id="two", failures=failures)
    for _ in range(10):
        refusal(guard.verify, request())

    assert refusal(guard.verify, request(b"right")) is Overloaded
    assert refusal(guard.verify, request(b"right", remote="192.0.2.2")) is None
    assert refusal(other.verify, request(b"right")) is None


def test_a_new_version_of_a_flow_forgets_nobody() -> None:
    """Who was right is heard beside wrong ones by its next version, too."""
    failures = Failures(3, 0.5, Clock())
    throttled(Asked(), failures=failures).verify(request(b"right"))
    guard = throttled(Asked(), failures=failures)
    for _ in range(10):
        refusal(guard.verify, request())

    assert refusal(guard.verify, request(b"right")) is None


def test_what_comes_in_pieces_counts_at_its_end() -> None:
    """Wrong at the end is wrong; right at the end keeps the source in."""
    guard = throttled(Asked(can_be_guessed=False))

    def send(body: bytes) -> type[Error] | None:
        def verify(asked: event_pb2.Request) -> None:
            arriving = guard.begin(asked)
            arriving.update(body)
            arriving.end()

        return refusal(verify, request(b""))

    assert [send(b"wrong") for _ in range(4)] == [Unauthenticated] * 3 + [Overloaded]
    assert send(b"right") is None
    assert refusal(guard.verify, request(b"right")) is None


def test_a_whole_network_of_ipv6_is_one_source() -> None:
    """Who walks through a /64 tries no more passwords than who does not."""
    inner = Asked()
    guard = throttled(inner)
    for number in range(100):
        refusal(guard.verify, request(remote=f"2001:db8::{number:x}"))

    assert inner.times == 3


def test_a_concealed_flow_does_not_tell_that_it_was_too_often() -> None:
    guard = Throttled("one", Asked(), None, Failures(1, 1.0, Clock()), untold)
    refusal(guard.verify, request())

    assert refusal(guard.verify, request()) is Unauthenticated


def test_many_sources_take_bounded_memory() -> None:
    """A flood from everywhere: those that were silent longest are forgotten."""
    failures = Failures(1, 1.0, Clock())
    guard = throttled(Asked(), failures=failures, can_be_guessed=False)
    for number in range(20_000):
        refusal(guard.verify, request(remote=f"wrong {number}"))
        guard.verify(request(b"right", remote=f"right {number}"))

    assert len(failures.buckets) == 16_384
    assert len(failures.standing("one")) == 1024
    assert refusal(guard.verify, request(remote="wrong 19999")) is Overloaded


@pytest.mark.parametrize(
    ("remote", "allowed"),
    [
        ("203.0.113.9", True),
        ("::ffff:203.0.113.9", True),
        ("2001:db8::5", True),
        ("203.0.114.1", False),
        ("2001:db9::5", False),
        ("", False),
        ("unix", False),
    ],
)
def test_a_sender_must_be_in_one_of_the_networks(remote: str, *, allowed: bool) -> None:
    """A right credential from elsewhere is a wrong one, and its cause has the address."""
    networks = (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"))
    near = Near(Asked(), networks)
    asked = request(b"right", remote)

    for verify in (near.verify, near.verify_head):
        if allowed:
            verify(asked)
        else:
            with pytest.raises(Unauthenticated, match="Send the credential") as refused:
                verify(asked)
            assert (remote or "the sender") in refused.value.cause
