"""Bodies on their way to no flow, or to one that hides: read as far in either case."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hookline.errors import BrokeOff, Rejected, TooSlow
from hookline.v1 import event_pb2
from tests.routers import FLOWS, Router, edge, request, routing, until

SIGNED = """
id: {id}
trigger:
  webhook:
    auth: {{type: hmac, secret: "${{secret:SIGN}}"}}
    max_body: {limit}
    conceal: true
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
CONCEALED = (
    SIGNED.format(id="hidden", limit="1kB"),
    SIGNED.format(id="wide", limit="300kB"),
)
SECRETS = {"HOOKLINE_SECRET_SIGN": "s3cret"}
NOBODYS = [("nobody", True), ("nobody", False), ("hidden", True), ("hidden", False)]
NOBODYS += [("wide", True), ("wide", False)]


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    async with routing(tmp_path, *FLOWS, *CONCEALED, environment=SECRETS) as router:
        yield router


class Body:
    """Pieces that are counted as they are read; then the end, or a fault."""

    def __init__(self, pieces: Iterator[bytes], fault: Rejected | None = None) -> None:
        self._pieces = pieces
        self._fault = fault
        self.reads = 0

    async def read(self, _room: int, /) -> bytes:
        self.reads += 1
        piece = next(self._pieces, b"")
        if not piece and self._fault is not None:
            raise self._fault
        return piece


def head(flow_id: str, *, signed: bool) -> event_pb2.Request:
    """A head that may pass, where it has what looks like a signature."""
    asked = request(flow_id, b"")
    if signed:
        asked.headers.add(name=b"x-eio-signature", value=b"00" * 32)
    return asked


def pieces(count: int, size: int) -> Iterator[bytes]:
    return (b"x" * size for _ in range(count))


@pytest.mark.security("S20", "S24")
@pytest.mark.parametrize("fault", [None, BrokeOff("gone"), TooSlow("late")])
@pytest.mark.parametrize(
    ("sent", "declared", "reads"),
    [
        ((3, 100), 300, 4),
        ((3, 100), None, 4),
        ((3, 1000), 3000, 4),
        ((3, 90_000), 270_000, 4),
        ((10_000, 10_000), None, 31),
        ((1, 300_001), 300_001, 0),
    ],
)
async def test_of_no_flow_as_much_is_read_as_of_one_that_hides(
    router: Router,
    sent: tuple[int, int],
    declared: int | None,
    reads: int,
    fault: Rejected | None,
) -> None:
    """Whether its head may pass, its body ends, breaks off or stays away: one answer."""
    seen = set()
    for flow_id, signed in NOBODYS:
        body = Body(pieces(*sent), fault)
        asked = head(flow_id, signed=signed)
        outcome = await router.receiver.upload(asked, declared, body.read)
        seen.add((body.reads, outcome.SerializeToString()))

    [(read, outcome_bytes)] = seen
    outcome = event_pb2.Outcome.FromString(outcome_bytes)
    assert outcome.rejected.reason == event_pb2.REASON_UNKNOWN_FLOW
    assert read == reads


async def test_where_no_flow_hides_no_body_is_read(tmp_path: Path) -> None:
    """Nor where a flow that does not hide has refused one."""
    async with routing(tmp_path, *FLOWS) as router:
        for flow_id, declared in (("nobody", 100), ("open", 400_001)):
            body = Body(pieces(3, 100))
            await router.receiver.upload(request(flow_id, b""), declared, body.read)

            assert body.reads == 0


@pytest.mark.parametrize("fault", [None, BrokeOff("gone")])
async def test_over_grpc_it_is_the_same(router: Router, fault: Rejected | None) -> None:
    """The edge, too, reads as far, and says the same where a body breaks off."""
    async with router.serving() as address, edge(address) as client:
        await until(lambda: client.ready)
        seen = set()
        for flow_id, signed in NOBODYS:
            body = Body(pieces(3, 90_000), fault)
            asked = head(flow_id, signed=signed)
            outcome = await client.upload(asked, 270_000, body.read)
            seen.add((body.reads, outcome.SerializeToString()))

    assert len(seen) == 1
