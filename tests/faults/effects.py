"""The other system that steps call: it keeps what was done, and can be told what to do.

A step's `Idempotency-Key` names its event and itself. An event's fate decides what it is
answered: `dead` is refused for good, `again` fails once and then works; so does `late`,
which asks to be left alone for so long that its flow is parked meanwhile.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.faults.evidence import Effect
from tests.faults.history import now_us

STEPS = ("first", "second")
# Longer than an execution waits in its place; with `PARKING` its flow leaves memory.
LATER_S = "2"
PARKING = {"HOOKLINE_EXECUTOR__PARK_AFTER_S": "1"}
FLOW = """
id: {flow_id}
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - id: first
    use: http.request
    with: {{url: "{url}first", body: {{fate: =body.fate}}}}
    retry: {{initial_interval: 50ms, maximum_interval: 200ms}}
  - id: second
    use: http.request
    with: {{url: "{url}second", body: {{fate: =trigger.body.fate}}}}
    retry: {{initial_interval: 50ms, maximum_interval: 200ms}}
"""


@dataclass(slots=True)
class Receiver:
    """What was done so far; `on_effect` is called after each effect, before its answer."""

    effects: list[Effect] = field(default_factory=list)
    on_effect: Callable[[], None] | None = None
    _failed_once: set[str] = field(default_factory=set)

    async def take(self, request: web.Request) -> web.Response:
        """Do a step's work, or fail as the fate says."""
        key = request.headers["Idempotency-Key"]
        event_id, _, step = key.partition("/")
        fate = (await request.json())["fate"]
        if fate == "dead" and step == STEPS[-1]:
            return web.json_response({"error": "never"}, status=400)
        if fate in ("again", "late") and key not in self._failed_once:
            self._failed_once.add(key)
            asked = {"Retry-After": LATER_S} if fate == "late" else None
            return web.json_response({"error": "not yet"}, status=503, headers=asked)
        self.effects.append(Effect(event_id, step, now_us()))
        if self.on_effect is not None:
            self.on_effect()
        return web.json_response({})


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    """Take effects while the block runs; gives the URL."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{step}", receiver.take)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield receiver, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def flow_file(number: int, url: str) -> str:
    """A flow whose steps call the receiver."""
    return FLOW.format(flow_id=f"flow-{number}", url=url)


def write_flows(directory: Path, url: str, count: int) -> Sequence[str]:
    """Flow files whose steps call the receiver; gives their ids."""
    directory.mkdir(exist_ok=True)
    for number in range(count):
        (directory / f"{number}.yaml").write_text(flow_file(number, url))
    return [f"flow-{number}" for number in range(count)]
