"""Where steps may go: which addresses and ports the one way out connects to."""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from ssrfguard import (
    DEFAULT_DENIED,
    AddressTable,
    Block,
    BlockedAddressError,
    Policy,
    Reach,
)

from hookline.errors import BadConfiguration

Network = IPv4Network | IPv6Network

WEB_PORTS: Final = frozenset({80, 443})
FIRST_FREE_PORT: Final = 1024
# Databases, brokers and desktops: what a web request can only harm.
OTHER_SERVICES: Final = frozenset(
    {1433, 1521, 2049, 3306, 3389, 5432, 5672, 5900, 6000, 6379, 9092, 11211, 27017}
)
AZURE: Final = Block(
    ip_network("168.63.129.16/32"), "Azure's platform address", "Azure", Reach.DENIED
)
TABLE: Final = AddressTable((*DEFAULT_DENIED.blocks, AZURE))


class AddressRefused(OSError):
    """An address that steps may not reach; the text says why."""


class Guard:
    """Which addresses may be connected to: public ones, and those of `allow`.

    Outside `allow` only ports 80, 443 and those from 1024 on that are not known to be
    databases, brokers and the like.
    """

    def __init__(self, allow: Sequence[Network]) -> None:
        self._allow = tuple(allow)
        try:
            self._policy = Policy(denied_networks=TABLE, allowed_networks=self._allow)
        except ValueError as error:
            raise BadConfiguration(f"HOOKLINE_EGRESS__ALLOW: {error}") from error

    def check(self, host: str, port: int) -> None:
        """Raise AddressRefused unless this address and port may be connected to."""
        address = ip_address(host)
        if any(address in network for network in self._allow):
            return
        try:
            self._policy.check_address(address)
        except BlockedAddressError as error:
            raise AddressRefused(f"{host}: {error.reason}") from error
        if port not in WEB_PORTS and (port < FIRST_FREE_PORT or port in OTHER_SERVICES):
            raise AddressRefused(f"port {port} is not one for the web")

    def open_socket(self, address: AddrInfoType) -> socket.socket:
        """Make the socket for one checked address: nothing connects around this."""
        family, kind, protocol, _, (host, port, *_) = address
        self.check(str(host), int(port))
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Names with an address that is not allowed among their addresses do not resolve."""

    def __init__(self, inner: AbstractResolver, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> list[ResolveResult]:
        """Resolve once, check every address."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            self._guard.check(one["host"], port)
        return found

    async def close(self) -> None:
        """Close the resolver inside."""
        await self._inner.close()
