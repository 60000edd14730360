"""What operators run: the image, and the compose file as it is, on a real engine."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.caller import call
from tests.compose.stack import SERVICES, Stack, stack, wait
from tests.engine import engine
from tests.processes import run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

FLOWS = 8
EVENTS = 250
JSON = ("Content-Type", "application/json")
TRIES = 300
COMPLETED_S = 150.0

FLOW = """
id: flow-{number}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - {{id: tell, use: http.request, with: {{url: "http://receiver:9000/flow-{number}"}}}}
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("compose")
    with (
        engine() as found,
        stack(found, directory, "executor=3", "router=2", "ingress=2") as started,
    ):
        yield started


class Callers:
    """A caller for each flow: sends 0, 1, 2 … and each of them until it is accepted."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.accepted: list[tuple[str, int]] = []
        self.news = asyncio.Condition()

    async def send_all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(FLOWS):
                tasks.create_task(self._send_flow(number))

    async def wait_accepted(self, share: float) -> None:
        async with self.news:
            await self.news.wait_for(
                lambda: len(self.accepted) >= share * FLOWS * EVENTS
            )

    async def _send_flow(self, number: int) -> None:
        address = self.addresses[number % len(self.addresses)]
        for event in range(EVENTS):
            await self._send(address, f"flow-{number}", event)
            self.accepted.append((f"flow-{number}", event))
            async with self.news:
                self.news.notify_all()

    async def _send(self, address: str, flow: str, event: int) -> None:
        body = msgspec.json.encode({"n": event})
        for _ in range(TRIES):
            answer = await call(address, "POST", f"/hook/{flow}", (JSON,), body)
            if answer.status == 200:
                return
            assert answer.status == 503, answer
            await asyncio.sleep(0.2)  # a caller's own patience
        raise TimeoutError(f"event {event} of {flow} was refused {TRIES} times")


def test_a_killed_executor_and_a_killed_broker_lose_and_disorder_nothing(
    line: Stack, tmp_path: Path
) -> None:
    """Each accepted event reaches the outside, per flow in the order of acceptance."""
    apply_flows(line, tmp_path)
    ingresses = line.containers("ingress")
    callers = Callers([each.published(8080) for each in ingresses])

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(callers.send_all())
            await callers.wait_accepted(0.25)
            await asyncio.to_thread(line.kill, line.containers("executor")[0])
            await callers.wait_accepted(0.5)
            await asyncio.to_thread(line.kill, line.containers("kafka-1")[0])

    asyncio.run(scenario())

    expected = [
        (f"flow-{flow}", event) for flow in range(FLOWS) for event in range(EVENTS)
    ]
    assert sorted(callers.accepted) == expected
    wait(
        lambda: set(line.received()) >= set(expected),
        COMPLETED_S,
        "events are missing outside",
    )
    # First occurrences: what a killed executor had begun runs again.
    firsts = dict.fromkeys(line.received())
    for flow in range(FLOWS):
        name = f"flow-{flow}"
        assert [event for of, event in firsts if of == name] == list(range(EVENTS))


def test_a_stop_is_clean(line: Stack) -> None:
    """Nobody has had to start again; told to stop, each ends by itself, in good order."""
    before = line.containers(*SERVICES)
    running = [each.id for each in before if each.state["Running"]]

    line.compose("stop", *SERVICES)

    after = line.containers(*SERVICES)
    codes = {
        f"{each.service} {each.id[:12]}": each.state["ExitCode"]
        for each in after
        if each.id in running
    }
    assert set(codes.values()) == {0}, codes
    assert [each.service for each in after if each.restarts] == []


def apply_flows(line: Stack, directory: Path) -> None:
    """Apply them at one router, and wait until each serves them."""
    for number in range(FLOWS):
        (directory / f"{number}.yaml").write_text(FLOW.format(number=number))
    routers = [each.published(50052) for each in line.containers("router")]
    code, out, err = hookline(
        line, "apply", "-f", str(directory), "--router", routers[0]
    )
    assert code == 0, out + err
    for router in routers:
        wait(partial(knows_flows, line, router), 30, f"{router} misses flows")


def knows_flows(line: Stack, router: str) -> bool:
    _, out, _ = hookline(line, "flows", "list", "-o", "json", "--router", router)
    return out.count('"flow-') >= FLOWS


def hookline(line: Stack, *arguments: str) -> tuple[int, str, str]:
    """Run the command on this machine, as an operator does."""
    return asyncio.run(run(*arguments, environment={"HOOKLINE_TOKEN": line.token}))
