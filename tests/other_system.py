"""Another system that flows call: it answers, fails or hangs as a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web


@dataclass(slots=True)
class Call:
    """A request that the other system was sent."""

    step: str
    key: str
    body: Any


@dataclass(slots=True)
class Other:
    """Another system: answers with what the test wants, and hangs where it wants."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    hangs: Callable[[Call], bool] = lambda _: False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        """Take a call."""
        step = request.match_info["step"]
        key = request.headers["Idempotency-Key"]
        call = Call(step, key, msgspec.json.decode(await request.read()))
        self.calls.append(call)
        if self.hangs(call):
            await self.over.wait()
        left = self.statuses.get(step, [200])
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.json_response({"number": len(self.calls)}, status=status)

    def steps(self) -> list[str]:
        """The steps that have called."""
        return [call.step for call in self.calls]


@asynccontextmanager
async def another_system() -> AsyncIterator[Other]:
    """Another system, on loopback; what hangs is let go at the end."""
    other = Other()
    application = web.Application()
    application.router.add_post("/{step}", other.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    other.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield other
    finally:
        other.over.set()
        await runner.cleanup()


def calling(url: str, *steps: str, flow: str = "calling", more: str = "") -> str:
    """A flow of steps that call, one after another, each with what the one before got."""
    lines = "\n".join(
        f"""  - id: {step}
    use: http.request
    with: {{url: "{url}/{step}", body: {{got: =body}}}}
    retry: {{maximum_attempts: 3, initial_interval: 1ms}}"""
        for step in steps
    )
    head = f"id: {flow}\ntrigger: {{webhook: {{auth: {{type: none}}}}}}"
    return f"{head}\n{more}\nsteps:\n{lines}\n"
