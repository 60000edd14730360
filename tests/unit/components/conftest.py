"""The real client, let out to loopback only."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from hookline.http_client import GuardedClient


@pytest.fixture
async def http() -> AsyncIterator[GuardedClient]:
    async with GuardedClient([ip_network("127.0.0.0/8")]) as client:
        yield client
