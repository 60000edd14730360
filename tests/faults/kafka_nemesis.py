"""Faults for the services on Kafka: executors, router, ingress and a broker come and go.

There are two executors between faults. Each fault ends with all partitions owned
and the edge ready, so that the next one meets a line that is well.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from hookline.failpoints import POINTS
from tests.brokers import Cluster
from tests.faults.evidence import Footprint
from tests.faults.generator import Generator
from tests.faults.history import Fault, History, now_us
from tests.faults.nemesis import NOT_REACHED, REACHED_S
from tests.faults.subject import footprint
from tests.kafka_line import Line
from tests.processes import Service
from tests.waiting import until_asked

OWNED: Final = "hookline_partitions_owned"
SESSION_S: Final = 6.0
STOPPED_S: Final = 0.2
# Each of them cuts short what waits: an executor leaves, another one joins.
HANDOVERS: Final = 2


@dataclass(slots=True)
class KafkaNemesis:
    """Does faults to a line under load."""

    line: Line
    brokers: Cluster
    generator: Generator
    history: History
    random: Random
    executors: list[Service]
    footprints: list[Footprint] = field(default_factory=list)

    async def do(self, faults: Sequence[str]) -> None:
        """All of them, with accepted events between."""
        for fault in faults:
            await self.generator.until_more(self.random.randrange(30, 120))
            at_us = now_us()
            window = await self._fault(fault)
            await self._settle()
            self.history.add(
                Fault(
                    at_us=at_us,
                    name=fault,
                    healed_us=now_us(),
                    crashes=HANDOVERS,
                    unwritable_us=window,
                )
            )
        await self.generator.until_more(50)
        self._weigh()

    async def _fault(self, fault: str) -> tuple[int, int] | None:
        if fault in POINTS:
            await self._end_at_point(fault)
            return None
        return await FAULTS[fault](self)

    async def _settle(self) -> None:
        """Return when those that live share all partitions, and the edge is well.

        All: a hand-over cuts short what waits, and one that comes later is a fault, too.
        """
        share = self.line.topics.events.partitions / len(self.executors)

        async def owned() -> bool:
            return {await one.metric(OWNED) for one in self.executors} == {share}

        await until_asked(owned, 60)
        await self.line.router.wait_ready()
        await self.line.ingress.wait_ready()

    def _weigh(self) -> None:
        for one in self.line.services:
            name = str(one.started["service"])
            self.footprints.append(footprint(name, one.process.pid))

    async def _end(self, service: Service, *, kill: bool = True) -> None:
        if service.process.returncode is None:
            await (service.kill() if kill else service.stop())
        self.line.services.remove(service)

    async def kill_executor(self) -> None:
        """One is gone at once; another comes."""
        await self._replace_executor(kill=True)

    async def stop_executor(self) -> None:
        """One leaves in good order; another comes."""
        await self._replace_executor(kill=False)

    async def _replace_executor(self, *, kill: bool) -> None:
        one = self.executors.pop(self.random.randrange(len(self.executors)))
        await self._end(one, kill=kill)
        self.executors.append(await self.line.executor())

    async def freeze_executor(self) -> None:
        """One says nothing for longer than its session, and wakes up without its work."""
        one = self.random.choice(self.executors)
        one.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SESSION_S + 2)  # the length of the fault
        one.process.send_signal(signal.SIGCONT)

    async def kill_router(self) -> None:
        """The router is gone, and another one is at its address."""
        router = self.line.router
        await self._end(router)
        self.line.router = await self.line.start("router", "--grpc", router.grpc)

    async def kill_ingress(self) -> None:
        """The ingress is gone, and another one is at its address."""
        ingress = self.line.ingress
        await self._end(ingress)
        self.line.ingress = await self._start_ingress()

    async def _start_ingress(self, failpoints: str = "") -> Service:
        places = ("--http", self.line.ingress.http, "--router", self.line.router.grpc)
        return await self.line.start("ingress", *places, failpoints=failpoints)

    async def freeze_broker(self) -> tuple[int, int]:
        """It answers nothing for a while; gives when the log could take nothing."""
        [broker] = self.brokers.brokers
        broker.freeze()
        await asyncio.sleep(STOPPED_S)  # the signal is on its way
        begun = now_us()
        await asyncio.sleep(3)  # the length of the fault
        ended = now_us()
        broker.thaw()
        return begun, ended

    async def stop_broker(self) -> tuple[int, int]:
        """It goes away, and comes back."""
        [broker] = self.brokers.brokers
        await asyncio.to_thread(broker.stop)
        begun = now_us()
        await asyncio.sleep(2)  # the length of the fault
        ended = now_us()
        await asyncio.to_thread(self.brokers.heal)
        return begun, ended

    async def _end_at_point(self, point: str) -> None:
        """Start a service that ends at the point: a third executor, or in place of one."""
        kind = point.partition(".")[0]
        armed = f"{point}:kill@{self.random.randrange(1, 12)}"
        if kind == "executor":
            third = await self.line.start("executor", failpoints=armed)
            await _wait_end(third, point)
            await self._end(third)
        elif kind == "router":
            place = ("router", "--grpc", self.line.router.grpc)
            await self._end(self.line.router)
            self.line.router = await self.line.start(*place, failpoints=armed)
            await _wait_end(self.line.router, point)
            await self.kill_router()
        else:
            await self._end(self.line.ingress)
            self.line.ingress = await self._start_ingress(armed)
            await _wait_end(self.line.ingress, point)
            await self.kill_ingress()


async def _wait_end(service: Service, point: str) -> None:
    try:
        async with asyncio.timeout(4 * REACHED_S):
            await service.process.wait()
    except TimeoutError as error:
        raise AssertionError(point + NOT_REACHED) from error


Do = Callable[[KafkaNemesis], Awaitable[tuple[int, int] | None]]
FAULTS: Final[Mapping[str, Do]] = {
    "executor killed": KafkaNemesis.kill_executor,
    "executor stopped": KafkaNemesis.stop_executor,
    "executor frozen": KafkaNemesis.freeze_executor,
    "router killed": KafkaNemesis.kill_router,
    "ingress killed": KafkaNemesis.kill_ingress,
    "broker frozen": KafkaNemesis.freeze_broker,
    "broker stopped": KafkaNemesis.stop_broker,
}
