"""Faults for the services on Kafka: executors, router, ingress and brokers come and go.

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
from tests.faults import kafka_brokers
from tests.faults.effects import Receiver
from tests.faults.evidence import Footprint
from tests.faults.generator import Generator
from tests.faults.history import Fault, History, now_us
from tests.faults.nemesis import NOT_REACHED, PASSED, REACHED_S, RESTORING
from tests.faults.subject import footprint
from tests.kafka_line import Line
from tests.processes import EndedAtOnceError, Service
from tests.waiting import until, until_asked

OWNED: Final = "hookline_partitions_owned"
SESSION_S: Final = 6.0
# Each of them cuts short what waits: an executor leaves, another one joins.
HANDOVERS: Final = 2
# Passed too seldom, or but once a partition, to wait for its twelfth time.
SELDOM: Final = (RESTORING, "executor.before_dead_letter", PASSED)
MANY: Final = 4


@dataclass(slots=True)
class KafkaNemesis:
    """Does faults to a line under load."""

    line: Line
    brokers: Cluster
    generator: Generator
    receiver: Receiver
    history: History
    random: Random
    executors: list[Service]
    more: Mapping[str, "Do"] = field(default_factory=dict)
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
                    crashes=HANDOVERS * _changes(fault),
                    unwritable_us=window,
                )
            )
        await self.generator.until_more(50)
        self._weigh()

    async def _fault(self, fault: str) -> tuple[int, int] | None:
        points = [one.strip() for one in fault.split("+")]
        if points[0] in POINTS:
            async with asyncio.TaskGroup() as tasks:
                for point in points:
                    tasks.create_task(self._end_at_point(point))
            return None
        return await {**FAULTS, **OF_THREE, **self.more}[fault](self)

    async def _settle(self) -> None:
        """Return when those that live share all partitions, and the edge is well.

        All: a hand-over cuts short what waits, and one that comes later is a fault, too.
        """
        await self._shared()
        await self.line.router.wait_ready()
        await self.line.ingress.wait_ready()

    async def _shared(self) -> None:
        share = self.line.topics.events.partitions / len(self.executors)

        async def owned() -> bool:
            return {await one.metric(OWNED) for one in self.executors} == {share}

        await until_asked(owned, 60)

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

    async def kill_executors_in_step(self) -> None:
        """All are gone when a step has had its effect, and has no answer; others come."""
        left = self.random.randrange(1, 30)

        def count_down() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                for one in self.executors:
                    one.process.send_signal(signal.SIGKILL)

        self.receiver.on_effect = count_down
        await until(lambda: left <= 0)
        self.receiver.on_effect = None
        for one in self.executors:
            await one.process.wait()
            await self._end(one)
        self.executors[:] = [await self.line.executor() for _ in self.executors]

    async def scale(self) -> None:
        """To one executor, to four, to one, and to as many as there were."""
        count = len(self.executors)
        for wanted in (1, MANY, 1, count):
            while len(self.executors) > wanted:
                await self._end(self.executors.pop(0), kill=False)
            while len(self.executors) < wanted:
                self.executors.append(await self.line.executor())
            await self._shared()
            await self.generator.until_more(30)

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

    async def restart_edges(self) -> None:
        """Each router and each ingress stops in good order, and is there again."""
        for one in list(self.line.services):
            kind = str(one.started["service"])
            if kind == "router":
                place: tuple[str, ...] = ("router", "--grpc", one.grpc)
            elif kind == "ingress":
                before = str(one.started["router"])
                place = ("ingress", "--http", one.http, "--router", before)
            else:
                continue
            assert await one.stop() == 0
            self.line.services.remove(one)
            again = await self.line.start(*place)
            if one in (self.line.router, self.line.ingress):
                setattr(self.line, kind, again)
            await again.wait_ready()
            await self.generator.until_more(20)

    async def _start_ingress(self, failpoints: str = "") -> Service:
        places = ("--http", self.line.ingress.http, "--router", self.line.router.grpc)
        return await self.line.start("ingress", *places, failpoints=failpoints)

    async def _end_at_point(self, point: str) -> None:
        """Start a service that ends at the point: a third executor, or in place of one."""
        kind = point.partition(".")[0]
        turn = 1 if point in SELDOM else self.random.randrange(1, 12)
        armed = f"{point}:kill@{turn}"
        if kind == "executor":
            await self._end_third(point, armed)
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

    async def _end_third(self, point: str, armed: str) -> None:
        try:
            third = await self.line.start("executor", failpoints=armed)
        except EndedAtOnceError:
            return
        await _wait_end(third, point)
        await self._end(third)


def _changes(fault: str) -> int:
    """How many executors have come or gone for it, about."""
    return 2 * MANY if fault == SCALED else 1 + fault.count("+")


async def _wait_end(service: Service, point: str) -> None:
    try:
        async with asyncio.timeout(4 * REACHED_S):
            await service.process.wait()
    except TimeoutError as error:
        raise AssertionError(point + NOT_REACHED) from error


Do = Callable[[KafkaNemesis], Awaitable[tuple[int, int] | None]]
SCALED: Final = "scaled to four and back"
FAULTS: Final[Mapping[str, Do]] = {
    "executors killed in a step": KafkaNemesis.kill_executors_in_step,
    SCALED: KafkaNemesis.scale,
    "executor killed": KafkaNemesis.kill_executor,
    "executor stopped": KafkaNemesis.stop_executor,
    "executor frozen": KafkaNemesis.freeze_executor,
    "router killed": KafkaNemesis.kill_router,
    "ingress killed": KafkaNemesis.kill_ingress,
    "edges restarted": KafkaNemesis.restart_edges,
    "broker frozen": kafka_brokers.freeze_broker,
    "broker stopped": kafka_brokers.stop_broker,
}
OF_THREE: Final[Mapping[str, Do]] = {
    "leader killed": kafka_brokers.kill_leader,
    "leader frozen": kafka_brokers.freeze_leader,
    "one broker left": kafka_brokers.keep_one_broker,
    "all brokers restarted": kafka_brokers.restart_brokers,
}
