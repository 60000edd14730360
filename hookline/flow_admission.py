"""What a trigger says of how much it takes, from where, and of other sites' scripts."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hookline.event import Value
from hookline.flow_fields import HEADER_NAME, Duration, Model, as_list, size_bytes

PERIODS_S: Final = {"second": 1, "minute": 60, "hour": 3600}
ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?|https?://\[[0-9a-fA-F:]+\]")
HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d{1,5})?")
Network = IPv4Network | IPv6Network


class Rate(Model):
    """At most so many requests, or bytes of bodies, a period; all at once if need be."""

    limit: int = Field(ge=1, le=1_000_000_000)
    per: Literal["second", "minute", "hour"] = "second"
    bytes: Annotated[int, BeforeValidator(size_bytes), Field(gt=0)] | None = None

    @property
    def per_s(self) -> int:
        """The period in seconds."""
        return PERIODS_S[self.per]


def _network(text: Value) -> Network:
    try:
        return ip_network(str(text))
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no network: write 203.0.113.0/24, 2001:db8::/32 or an address"
        ) from error


def _origin(text: str) -> str:
    if text != "*" and not ORIGIN.fullmatch(text):
        raise ValueError(
            f'{text!r} is no origin: write "https://shop.example" (scheme, host and '
            'port, nothing after it), or "*" for all'
        )
    return text.lower()


def _host(text: str) -> str:
    if text != "*" and not HOST.fullmatch(text):
        raise ValueError(
            f'{text!r} is no host: write "eventgrid.azure.net", or "*" for all'
        )
    return text.lower()


def _header_name(text: str) -> str:
    if not re.match(HEADER_NAME, text):
        raise ValueError(f"{text!r} is not a header's name")
    return text


class Cors(Model):
    """Scripts of which sites may read the answers, and which headers they may send.

    Content-Type and the headers of the trigger's credentials need no mention.
    """

    origins: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...],
        BeforeValidator(as_list),
        Field(min_length=1),
    ]
    headers: tuple[Annotated[str, AfterValidator(_header_name)], ...] = ()
    max_age: Duration = 600.0


Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...],
    BeforeValidator(as_list),
    Field(min_length=1),
]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...],
    BeforeValidator(as_list),
    Field(min_length=1),
]
