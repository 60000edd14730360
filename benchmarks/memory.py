"""What the services hold: python -m benchmarks.memory.

Resident memory of ingress, router and executor after 200,000 events each; and while the
broker is frozen and requests keep coming, when what waits is bounded in bytes. Ends with
1 where a process holds more than it may, a refusal is no 503 in time, or nothing is
accepted again soon after.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.consumption import forget_peak, peak_resident_mb, resident_mb
from benchmarks.line import Line, line_on, paths, write_flows
from benchmarks.load import load_script, need_wrk, wrk
from tests.brokers import Broker, kafka_cluster
from tests.caller import request_bytes
from tests.flood import Flood, flooding
from tests.waiting import until

MOST_MB = 150
EVENTS = 200_000
FLOWS = 200
# The load stands for many senders, and comes from one address.
MANY = {"HOOKLINE_INGRESS__MOST_CONNECTIONS_PER_ADDRESS": "5000"}
FROZEN_S = 15.0
REFUSED_S = 7.0  # the deadline of 5 s, and a busy machine
HEALED_S = 10.0
A_SECOND = 2_000


def after_many(line: Line, wanted: int) -> bool:
    """Resident memory when so many events have been through."""
    ingress, executor = line.services["ingress"], line.services["executor"]
    sent = 0
    with load_script(paths(FLOWS)) as script:
        while sent < wanted:
            sent += wrk(ingress.http, 64, 5, script)[1]
    deadline = time.monotonic() + 300
    while (ran := executor.metric("hookline_executions_total")) < wanted:
        if time.monotonic() > deadline:
            sys.exit(f"{sent:,} events were accepted and {ran:,.0f} have run")
        time.sleep(0.5)
    print(f"after {sent:,} events")
    return _within({name: resident_mb(pid) for name, pid in line.processes.items()})


def _within(held: dict[str, float]) -> bool:
    for name, mb in held.items():
        verdict = "as expected" if mb <= MOST_MB else "OVER"
        print(f"  {name:10}{mb:>8.0f} MB, expected at most {MOST_MB}: {verdict}")
    return all(mb <= MOST_MB for mb in held.values())


async def while_frozen(line: Line, broker: Broker, body_bytes: int) -> bool:
    """Peaks while requests of a size come and the broker answers nothing."""
    for pid in line.processes.values():
        forget_peak(pid)
    async with flooding(
        line.services["ingress"].http, _requests(body_bytes), A_SECOND
    ) as flood:
        await until(lambda: flood.statuses[200] > A_SECOND)
        broker.freeze()
        await asyncio.sleep(FROZEN_S)
        broker.thaw()
        healed_s = await _accepts_again(flood)
        await asyncio.sleep(2.0)
    peaks = {name: peak_resident_mb(pid) for name, pid in line.processes.items()}
    print(
        f"broker frozen for {FROZEN_S:g} s, {A_SECOND:,} requests/s of {body_bytes:,} "
        f"bytes: {dict(flood.statuses)}, slowest {flood.slowest_s:.1f} s, "
        f"{flood.connections:,} connections, {flood.unsent} not sent, "
        f"{flood.lost} lost, accepts again after {healed_s:.1f} s"
    )
    return _within(peaks) and _refused_well(flood) and healed_s < HEALED_S


async def _accepts_again(flood: Flood) -> float:
    """Seconds until a request that was sent from now on is accepted."""
    healed = asyncio.get_running_loop().time()
    await until(lambda: flood.accepted_begun > healed)
    return asyncio.get_running_loop().time() - healed


def _refused_well(flood: Flood) -> bool:
    return (
        set(flood.statuses) == {200, 503}
        and flood.slowest_s < REFUSED_S
        and not flood.lost
        and not flood.unsent
    )


def _requests(body_bytes: int) -> Sequence[bytes]:
    body = b'{"name": "Ada", "note": "%s"}' % (b"x" * body_bytes)
    headers = [("Content-Type", "application/json")]
    return [request_bytes("POST", path, headers, body) for path in paths(FLOWS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    options = parser.parse_args()
    need_wrk()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        [broker] = stack.enter_context(kafka_cluster(directory / "kafka")).brokers

        def fresh(name: str) -> Line:
            write_flows(directory / name, FLOWS)
            line = line_on(broker.server, directory / name, executor=True, **MANY)
            return stack.enter_context(line)

        held = [after_many(fresh("many"), options.events)]
        held += [
            asyncio.run(while_frozen(fresh(f"frozen-{size}"), broker, size))
            for size in (1_000, 10_000)
        ]
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
