"""Stop 4, before the credentials: the networks that a flow's senders must be in."""

from collections import OrderedDict
from collections.abc import Sequence

from hookline.errors import Unauthenticated
from hookline.flow_admission import Network
from hookline.sources import address_of
from hookline.v1 import event_pb2
from services.router.guards import Signed, Verifies
from services.router.sources import MOST_SOURCES
from services.router.static_credentials import Known


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

    def verify_head(self, request: event_pb2.Request) -> Known | None:
        """Raise where the sender is elsewhere, too."""
        self._networks.check(request.remote)
        return self._inner.verify_head(request)

    def verify(self, request: event_pb2.Request) -> Known | None:
        """Raise where the sender is elsewhere, too."""
        self._networks.check(request.remote)
        return self._inner.verify(request)

    def begin(self, request: event_pb2.Request) -> Signed:
        """Verify a body as it comes; the head has told where the sender is."""
        return self._inner.begin(request)
