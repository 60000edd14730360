"""Callers that send numbered events to flows, and write down what they were told.

Everything is drawn from one seed: which flow, which fate, how long a pause. Each caller
has one connection, which it keeps, and one request at a time.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import msgspec

from tests.caller import Answer, read_answer, request_bytes
from tests.faults.history import Fail, History, Info, Invoke, Ok, now_us
from tests.instance import JSON
from tests.waiting import until

ANSWER_S = 15.0
RECONNECT_S = 0.05
AGAIN = 0.2
FATES = (*("",) * 89, *("dead", "again") * 5, "late")
# Without what makes a flow leave memory.
NONE_LATE = FATES[:-1]
INDETERMINATE = (500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent. `fates` are drawn from; with `repeats` requests have keys.

    Where there are several addresses, with commas, a caller that got no good answer from
    one goes to the next.
    """

    address: str
    flow_ids: Sequence[str]
    seed: int
    callers: int = 12
    a_second: float = 150.0
    fates: Sequence[str] = FATES
    repeats: int = 0


@dataclass(slots=True)
class Generator:
    """The callers of a plan."""

    plan: Plan
    history: History
    accepted: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_more(self, more: int, seconds: float = 60.0) -> None:
        """Return when so many more have been accepted."""
        goal = self.accepted + more
        await until(lambda: self.accepted >= goal, seconds)

    async def call(self, caller: str) -> None:
        """Send one after another until told to stop."""
        random = Random(f"{self.plan.seed}/{caller}")  # noqa: S311 - a seed
        connection = Connection(self.plan.address)
        number = 0
        try:
            while not self.stopping.is_set():
                await self._send(connection, random, caller, number)
                number += 1
                pause_s = 2 * random.random() * self.plan.callers / self.plan.a_second
                await asyncio.sleep(pause_s)
        finally:
            connection.close()

    async def _send(
        self, connection: "Connection", random: Random, caller: str, number: int
    ) -> None:
        """Send an event; where it has a key, again until its answer is certain.

        And now and then once more although it is.
        """
        flow_id = random.choice(self.plan.flow_ids)
        fate = random.choice(self.plan.fates)
        key = f"{caller}-{number}" if self.plan.repeats else ""
        body = {"caller": caller, "number": number, "fate": fate}
        headers = [JSON, *([("Idempotency-Key", key)] if key else [])]
        request = request_bytes(
            "POST", f"/hook/{flow_id}", headers, msgspec.json.encode(body)
        )
        for _ in range(1 + self.plan.repeats):
            self.history.add(
                Invoke(
                    at_us=now_us(),
                    caller=caller,
                    number=number,
                    flow=flow_id,
                    fate=fate,
                    key=key,
                )
            )
            certain = await self._is_certain(connection, request, caller, number)
            if certain and not (key and random.random() < AGAIN):
                return

    async def _is_certain(
        self, connection: "Connection", request: bytes, caller: str, number: int
    ) -> bool:
        try:
            answer = await connection.ask(request)
        except (OSError, EOFError, TimeoutError) as error:
            connection.close()
            text = type(error).__name__
            self.history.add(
                Info(at_us=now_us(), caller=caller, number=number, text=text)
            )
            await asyncio.sleep(RECONNECT_S)
            return False
        certain = self._note(answer, caller, number)
        if not certain and self.plan.repeats:
            connection.close()
            await asyncio.sleep(RECONNECT_S)
        return certain

    def _note(self, answer: Answer, caller: str, number: int) -> bool:
        at_us = now_us()
        if answer.status in INDETERMINATE:
            text = str(answer.status)
            line = Info(at_us=at_us, caller=caller, number=number, text=text)
            self.history.add(line)
            return False
        if 200 <= answer.status < 300:
            event_id = answer.headers["x-event-id"]
            self.accepted += 1
            self.history.add(
                Ok(at_us=at_us, caller=caller, number=number, event_id=event_id)
            )
        else:
            self.history.add(
                Fail(at_us=at_us, caller=caller, number=number, status=answer.status)
            )
        return True


class Connection:
    """A connection that is kept from request to request, and made anew when it is gone."""

    def __init__(self, addresses: str) -> None:
        self._addresses = deque(addresses.split(","))
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer. Raises OSError, EOFError, TimeoutError."""
        async with asyncio.timeout(ANSWER_S):
            if self._streams is None:
                host, _, port = self._addresses[0].rpartition(":")
                self._streams = await asyncio.open_connection(host, port)
            reader, writer = self._streams
            writer.write(request)
            return await read_answer(reader)

    def close(self) -> None:
        """End it; the next request opens another, to the next address."""
        self._addresses.rotate(-1)
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def generating(plan: Plan, history: History) -> AsyncIterator[Generator]:
    """Have the callers send while the block runs; each gets its last answer."""
    generator = Generator(plan, history)
    async with asyncio.TaskGroup() as tasks:
        for number in range(plan.callers):
            tasks.create_task(generator.call(f"c{number}"))
        try:
            yield generator
        finally:
            generator.stopping.set()
