"""Where the routers are: every address that a name resolves to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from hookline.errors import BadConfiguration

Resolve = Callable[[], Awaitable[Sequence[str]]]


def resolver(target: str) -> Resolve:
    """The addresses behind HOST:PORT, from the system. Raises BadConfiguration."""
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise BadConfiguration(
            f"{target!r} is no address of a router: give HOST:PORT, as in router:50052"
        )

    async def resolve() -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )
        return [_joined(str(name[0]), port) for *_, name in found]

    return resolve


def _joined(ip: str, port: str) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
