"""Who a request comes from: the other end of its connection, or whom a proxy names.

What a header says of an address counts only where the connection is a trusted proxy's;
read from the right, up to the first address that is nobody trusted. Of a line that does not
parse it is unknown who has written what: its request comes from nobody, whom no network
holds, rather than from the proxy, which may be in one.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, NamedTuple

from hookline.sources import Address, address_of
from services.ingress.forwarded import senders_in

Network = IPv4Network | IPv6Network
RawHeaders = Iterable[tuple[bytes, bytes]]
FORWARDED: Final = b"forwarded"
FORWARDED_FOR: Final = b"x-forwarded-for"
REMEMBERED: Final = 4096
NOBODY: Final = ""


class Hop(NamedTuple):
    """An address on a request's way."""

    text: str
    trusted: bool


class Senders:
    """The proxies that are trusted, and the one header that is believed of them."""

    def __init__(
        self, trusted: Sequence[Network] = (), header: bytes = FORWARDED_FOR
    ) -> None:
        self._trusted = trusted
        self._header = header
        self._read = senders_in if header == FORWARDED else _split
        self._hop = lru_cache(REMEMBERED)(self._judge)

    def trusts(self, address: str) -> bool:
        """Whether a peer is a trusted proxy."""
        hop = self._hop(address)
        return hop is not None and hop.trusted

    def named_by(self, proxy: str, headers: RawHeaders) -> str:
        """The sender's address, or NOBODY, on a connection of a trusted proxy."""
        sender = proxy
        lines = [value for name, value in headers if name.lower() == self._header]
        for line in reversed(lines):
            named = self._read(line.decode("latin-1"))
            if named is None:
                return NOBODY
            for text in reversed(named):
                hop = self._hop(text)
                if hop is None:  # whoever wrote it is the last that is known
                    return sender
                sender = hop.text
                if not hop.trusted:
                    return sender
        return sender

    def _judge(self, text: str) -> Hop | None:
        address = _address(text)
        if address is None:
            return None
        trusted = any(address in network for network in self._trusted)
        return Hop(str(address), trusted)


def peer_address(transport: Any) -> str:
    """The address at the other end; empty where it has none."""
    peer = transport.get_extra_info("peername")
    address = _address(str(peer[0])) if isinstance(peer, tuple) else None
    return str(address) if address is not None else ""


def _split(line: str) -> Sequence[str]:
    return line.split(",")


def _address(text: str) -> Address | None:
    """An address as headers write it: perhaps quoted, in brackets, with a port."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return address_of(text)
