"""What waits for a broker that is silent is bounded in bytes, at the edge and behind it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from hookline.log.kafka import Durability
from tests.brokers import kafka_cluster
from tests.caller import request_bytes
from tests.flood import flooding
from tests.instance import JSON
from tests.kafka_line import line_on
from tests.processes import Service
from tests.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]

A_SECOND = 500
FROZEN_S = 8.0
REFUSED_S = 7.0  # the deadline of 5 s, and a busy machine
HEALED_S = 10.0
MOST = 8 * 1024 * 1024
MOST_MB_MORE = 40  # the bound, the client's copies, and what Python keeps
ONE = Durability(replication=1, min_insync=1)


async def test_byte_bounds_hold_while_the_broker_is_frozen(tmp_path: Path) -> None:
    """Requests keep coming: 503 in time, memory stays, and then they are accepted."""
    with kafka_cluster(tmp_path / "kafka") as brokers:
        [broker] = brokers.brokers
        flows = tmp_path / "flows"
        flows.mkdir()
        async with line_on(
            brokers.servers,
            flows,
            flows=10,
            durability=ONE,
            HOOKLINE_INGRESS__MOST_BYTES_IN_FLIGHT=str(MOST),
            HOOKLINE_ROUTER__MOST_BYTES_IN_FLIGHT=str(MOST),
        ) as line:
            services = (line.ingress, line.router)
            async with flooding(
                line.ingress.http, requests(line.flow_ids), A_SECOND
            ) as flood:
                await until(lambda: flood.statuses[200] > A_SECOND)
                before = [resident_mb(one) for one in services]
                broker.freeze()
                await asyncio.sleep(FROZEN_S)  # the length of the fault
                held = [resident_mb(one) for one in services]
                broker.thaw()
                healed = asyncio.get_running_loop().time()
                await until(lambda: flood.accepted_begun > healed, HEALED_S)

    grown = [now - then for now, then in zip(held, before, strict=True)]
    assert max(grown) < MOST_MB_MORE
    assert set(flood.statuses) == {200, 503}
    assert flood.slowest_s < REFUSED_S
    assert not flood.lost


def requests(flow_ids: Sequence[str]) -> Sequence[bytes]:
    """Of 10 KB: what comes while the broker is frozen is several times the bound."""
    body = b'{"n": 1, "more": "%s"}' % (b"x" * 10_000)
    return [
        request_bytes("POST", f"/hook/{flow_id}", [JSON], body) for flow_id in flow_ids
    ]


def resident_mb(service: Service) -> float:
    """What its process holds now."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
