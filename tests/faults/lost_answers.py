"""Between a broker and its clients: an answer to a produce request that never arrives.

The broker has applied the request; its client sees a connection that ended. Clients come
this way because the broker says that it is here.
"""

import asyncio
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.broker_files import PROPERTIES, free_ports
from tests.brokers import Cluster, kafka_cluster
from tests.faults.kafka_nemesis import KafkaNemesis
from tests.waiting import until

PRODUCE: Final = 0
LISTENER: Final = re.compile(r"^listeners=BROKER://127\.0\.0\.1:(\d+)", re.MULTILINE)


@dataclass(slots=True)
class AnswerLoser:
    """Passes frames on; `left` answers to produce requests are yet to be lost."""

    settings: Path
    port: int
    left: int = 0
    lost: int = 0

    async def take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection of a client, to its end or to that of the broker's."""
        found = LISTENER.search(self.settings.read_text())
        assert found
        asked: deque[int] = deque()
        with suppress(OSError, EOFError):
            there = await asyncio.open_connection("127.0.0.1", int(found[1]))
            tasks = {
                asyncio.ensure_future(_forward(reader, there[1], asked)),
                asyncio.ensure_future(self._answer(there[0], writer, asked)),
            }
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            there[1].close()
        writer.close()

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: deque[int],
    ) -> None:
        while True:
            frame = await _frame(reader)
            if asked.popleft() == PRODUCE and self.left > 0:
                self.left -= 1
                self.lost += 1
                return
            writer.write(frame)
            await writer.drain()

    async def lose(self, nemesis: KafkaNemesis) -> tuple[int, int] | None:
        """Three answers are lost, one after another; whoever waited for them goes on."""
        goal = self.lost + 3
        self.left = 3
        await until(lambda: self.lost >= goal, 60)
        await nemesis.generator.until_more(30)
        return None


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: deque[int]
) -> None:
    while True:
        frame = await _frame(reader)
        asked.append(int.from_bytes(frame[4:6], "big"))
        writer.write(frame)
        await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size, "big"))


@contextmanager
def _serving(loser: AnswerLoser) -> Iterator[None]:
    """In a thread of its own: brokers are started and asked by code that blocks."""
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
        server = await asyncio.start_server(loser.take, "127.0.0.1", loser.port)
        ready.set()
        await stopping.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        stop[0]()
        thread.join()


@contextmanager
def broker_behind(directory: Path) -> Iterator[tuple[Cluster, AnswerLoser]]:
    """A broker whose clients come by way of what can lose its answers."""
    [port] = free_ports(1)
    loser = AnswerLoser(directory.absolute() / "node-1" / PROPERTIES, port)
    here = {"advertised.listeners": f"BROKER://127.0.0.1:{port}"}
    with _serving(loser), kafka_cluster(directory, 1, **here) as brokers:
        yield brokers, loser
