"""Who sends: an address, of IPv6 its /64, and what each has left of the sources' limits.

What is kept is bounded: of many sources the one that was silent longest is forgotten.
"""

import time
from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from services.router.rates import Clock, Limits, Quota

MOST_SOURCES: Final = 16_384
PREFIX_BITS: Final = 64
Address = IPv4Address | IPv6Address


@lru_cache(maxsize=4096)
def address_of(remote: str) -> Address | None:
    """The address of a sender; None where it is none, as of a Unix socket."""
    try:
        address = ip_address(remote.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def source_of(remote: str) -> str:
    """What is taken for one sender: whoever has an IPv6 address has a whole /64."""
    return _source_of(remote) if ":" in remote else remote


@lru_cache(maxsize=4096)
def _source_of(remote: str) -> str:
    match address_of(remote):
        case None:
            return remote
        case IPv4Address() as address:
            return str(address)
        case address:
            return f"{IPv6Address(int(address) >> PREFIX_BITS << PREFIX_BITS)}/64"


class Sources:
    """The quotas of those who have sent lately."""

    def __init__(
        self,
        limits: Limits,
        routers: int = 1,
        most: int = MOST_SOURCES,
        now: Clock = time.monotonic,
    ) -> None:
        self._limits = limits
        self._routers = routers
        self._most = most
        self._now = now
        self._quotas: OrderedDict[str, Quota] = OrderedDict()

    def quota(self, remote: str) -> Quota:
        """What the source of an address has left."""
        source = source_of(remote)
        quota = self._quotas.get(source)
        if quota is None:
            quota = Quota("This address", self._limits, self._routers, self._now)
            self._quotas[source] = quota
            if len(self._quotas) > self._most:
                self._quotas.popitem(last=False)
        else:
            self._quotas.move_to_end(source)
        return quota
