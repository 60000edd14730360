"""Stop 2, the spreading: one stream to each router, and requests take turns among them.

A router that stops, breaks or falls silent gets nothing more; what was not written to it
goes to another.
"""

import asyncio
from random import Random
from typing import Final

import grpc

from hookline.telemetry import get_logger
from services.ingress.addresses import Resolve
from services.ingress.router_stream import Ended, RouterStream, Waiting

RESOLVE_S: Final = 5.0
RESOLVE_PAUSE_S: Final = 0.5
SWEEP_S: Final = 0.1
# Asked, and not heard for so long: others get what comes, if there are others.
QUIET_S: Final = 1.0
FIRST_PAUSE_S: Final = 0.1
LAST_PAUSE_S: Final = 2.0
NOWHERE = "No router can be reached: send the request again later."
# Pauses need to differ among processes, not to be secret.
RANDOM: Final = Random()  # noqa: S311
logger = get_logger(__name__)


class Spread:
    """The routers behind a name."""

    def __init__(self, resolve: Resolve, token: str, deadline_s: float) -> None:
        self._resolve = resolve
        self._token = token
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._named: frozenset[str] = frozenset()
        self._streams: dict[str, RouterStream] = {}
        self._turns: list[RouterStream] = []
        self._turn = 0
        self._resolve_again = asyncio.Event()

    @property
    def routers(self) -> int:
        """How many routers take requests."""
        return len(self._turns)

    def put(self, waiting: Waiting) -> None:
        """Give a request to the router whose turn it is; refuse it where there is none."""
        stream = self.next()
        if stream is None:
            waiting.refuse(NOWHERE)
        else:
            stream.put(waiting)

    def next(self) -> RouterStream | None:
        """The router whose turn it is; None where none takes requests."""
        if not self._turns:
            return None
        self._turn += 1
        return self._turns[self._turn % len(self._turns)]

    def _choose(self) -> None:
        """Settle who gets requests: open streams that were heard, or at least not frozen.

        One that owes a sign of life for the whole deadline gets nothing until it answers.
        """
        now = self._loop.time()
        streams = [stream for stream in self._streams.values() if stream.open]
        lively = [one for one in streams if _silence(one, now) < QUIET_S]
        frozen_s = self._deadline_s
        self._turns = lively or [
            one for one in streams if _silence(one, now) < frozen_s
        ]

    async def sweep(self) -> None:
        """Keep the deadline of requests, and look after silent routers."""
        deadline_s = self._deadline_s
        while True:
            await asyncio.sleep(min(SWEEP_S, deadline_s / 4))
            self._choose()
            now = self._loop.time()
            for stream in list(self._streams.values()):
                stream.refuse_overdue(now - deadline_s)
                if stream.open and self._turns and stream not in self._turns:
                    self._pass_on(stream)
                if _silence(stream, now) > 2 * deadline_s:
                    stream.give_up()

    def _pass_on(self, stream: RouterStream) -> None:
        """Let other routers have what was not written to this one."""
        for waiting in stream.take_unwritten():
            self.put(waiting)

    async def follow_addresses(self) -> None:
        """Keep a stream to each address that the name resolves to."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._resolve_again.clear()
                for address in await self._newly_named():
                    tasks.create_task(self._keep(address))
                await asyncio.sleep(RESOLVE_PAUSE_S)
                try:
                    async with asyncio.timeout(RESOLVE_S):
                        await self._resolve_again.wait()
                except TimeoutError:
                    continue

    async def _newly_named(self) -> list[str]:
        try:
            named = frozenset(await self._resolve())
        except OSError as error:
            logger.warning("router.unresolved", error=str(error))
            named = self._named
        kept = self._streams.keys()
        self._named = named
        return sorted(named - kept)

    async def _keep(self, address: str) -> None:
        """Connect again and again, until the name means this address no more."""
        pause_s = FIRST_PAUSE_S
        told: grpc.StatusCode | None = None
        while address in self._named:
            stream = RouterStream(address, self._token)
            ended, was_open = await self._run(stream)
            if was_open:
                pause_s, told = FIRST_PAUSE_S, None
            if ended.code is not told:
                _tell(address, ended)
                told = ended.code
            self._resolve_again.set()
            await asyncio.sleep(pause_s * RANDOM.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
        del self._streams[address]

    async def _run(self, stream: RouterStream) -> tuple[Ended, bool]:
        """One stream to its end; also says whether it was ever open."""
        was_open = False

        def changed() -> None:
            nonlocal was_open
            if stream.open and not was_open:
                was_open = True
                logger.info("router.connected", address=stream.address)
            self._choose()

        self._streams[stream.address] = stream
        try:
            return await stream.run(changed), was_open
        finally:
            stream.refuse_written()
            self._pass_on(stream)


def _silence(stream: RouterStream, now: float) -> float:
    return 0.0 if stream.silent_since is None else now - stream.silent_since


def _tell(address: str, ended: Ended) -> None:
    """Say why there is no stream, and what to do where that is known."""
    if ended.code is grpc.StatusCode.UNAUTHENTICATED:
        text = (
            "the router knows no such token: set HOOKLINE_INGRESS__ROUTER_TOKEN here to "
            "one of its HOOKLINE_ROUTER__EDGE_TOKENS"
        )
        logger.error("router.refused", address=address, error=text)
    elif ended.code is grpc.StatusCode.OK:
        logger.info("router.stopped", address=address)
    else:
        logger.warning(
            "router.lost", address=address, code=ended.code.name, error=ended.text
        )
