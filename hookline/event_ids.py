"""The ids of events that have an idempotency key: the same id for the same key, anywhere.

Such an id is a UUID of version 8, made of a flow's id and a key by a hash: every router
answers a repeat with the same one, and keeps no state for it. It begins with the hash that
the flow's partition follows from, so it tells where its event is; it tells no time.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Final
from uuid import UUID

from hookline.event import EventId
from hookline.log import murmur2

UUID8: Final = 8
VERSION: Final = UUID8 << 76
VARIANT: Final = 0b10 << 62
# What a hash says of the lower 96 bits: all but the version's and the variant's.
HASHED: Final = (1 << 96) - 1 ^ (0xF << 76) ^ (0b11 << 62)


@lru_cache(maxsize=4096)
def _flow_bits(flow_id: str) -> int:
    return (murmur2(flow_id.encode()) & 0x7FFFFFFF) << 96


def keyed_event_id(flow_id: str, key: str) -> EventId:
    """The id of a flow's event with a key; the key says what kind it is."""
    digest = sha256(f"{flow_id}\0{key}".encode(errors="surrogatepass")).digest()
    hashed = int.from_bytes(digest[:12], "big") & HASHED
    return EventId(str(UUID(int=_flow_bits(flow_id) | hashed | VERSION | VARIANT)))


def partition_of_id(event_id: str, partitions: int) -> int | None:
    """The partition of an event with a key; None where the id is not of that kind."""
    try:
        uuid = UUID(event_id)
    except ValueError:
        return None
    return (uuid.int >> 96) % partitions if uuid.version == UUID8 else None
