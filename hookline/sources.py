"""Who is taken for one sender: an address, of IPv6 its network of 64 bits.

Whoever has an IPv6 address has all of its network. Bounds and budgets at the edge and in
the router count by it.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

NETWORK_BITS: Final = 64
REMEMBERED: Final = 4096
Address = IPv4Address | IPv6Address


@lru_cache(REMEMBERED)
def address_of(text: str) -> Address | None:
    """The address that a text is, of IPv6 the IPv4 one in it; None where it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def source_of(remote: str) -> str:
    """What the sender at an address is counted as."""
    return _source_of(remote) if ":" in remote else remote


@lru_cache(REMEMBERED)
def _source_of(remote: str) -> str:
    match address_of(remote):
        case None:
            return remote
        case IPv4Address() as address:
            return str(address)
        case address:
            return str(IPv6Network((address, NETWORK_BITS), strict=False))
