"""Order: per flow 0…n one after another, flows side by side, whatever steps do."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest

from hookline import components
from hookline.components import Effect, Resources, component_types
from hookline.errors import RetryableError
from hookline.event import Message
from tests.instance import JSON, running

FLOWS = 20
EVENTS = 100


class Unsteady:
    """A component that takes random time, fails now and then, and notes what it saw."""

    class Parameters(components.Parameters):
        """None."""

    effect: ClassVar = Effect.REPEATABLE
    random: ClassVar = Random(7)  # noqa: S311 - not for secrets
    done: ClassVar[dict[str, list[int]]] = defaultdict(list)
    running: ClassVar[set[str]] = set()
    most_flows_at_once: ClassVar[int] = 0
    overlaps: ClassVar[int] = 0

    def __init__(self, _parameters: Parameters, _resources: Resources) -> None:
        pass

    async def run(self, message: Message) -> Sequence[Message]:
        """Take a few turns of the loop, then fail or note the number."""
        kind = type(self)
        flow_id = message.run.flow_id
        kind.overlaps += flow_id in kind.running
        kind.running.add(flow_id)
        kind.most_flows_at_once = max(kind.most_flows_at_once, len(kind.running))
        try:
            for _ in range(self.random.randrange(20)):
                await asyncio.sleep(0)
            if self.random.random() < 0.1:
                raise RetryableError("now and then")
        finally:
            kind.running.discard(flow_id)
        kind.done[flow_id].append(message.body["n"])
        return (message,)


def flow(number: int) -> str:
    return f"""
id: flow-{number}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - id: work
    use: unsteady
    retry: {{maximum_attempts: 50, initial_interval: 1ms, maximum_interval: 2ms}}
"""


@pytest.mark.slow
async def test_events_of_one_flow_run_in_order_and_flows_side_by_side(
    tmp_path: Path,
) -> None:
    """20 flows, 2,000 numbered events: no event passes another, no two overlap."""
    types = {**component_types(), "unsteady": Unsteady}
    async with running(tmp_path, *map(flow, range(FLOWS)), types=types) as hookline:

        async def caller(number: int) -> None:
            for n in range(EVENTS):
                body = b'{"n": %d}' % n
                answer = await hookline.send(f"flow-{number}", body, [JSON])
                assert answer.status == 200

        await asyncio.gather(*map(caller, range(FLOWS)))
        await hookline.ends.wait_count(FLOWS * EVENTS)

    assert len(Unsteady.done) == FLOWS
    for numbers in Unsteady.done.values():
        assert numbers == list(range(EVENTS))
    assert Unsteady.overlaps == 0
    assert Unsteady.most_flows_at_once > FLOWS // 2
