"""`hookline up` under faults: a process that is started again on its port and data."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from resource import RLIMIT_FSIZE, prlimit

from hookline.cli.log_place import EMBEDDED_PARTITIONS
from hookline.topics import Topics
from tests.broker_files import free_ports
from tests.faults.effects import PARKING
from tests.faults.evidence import Footprint, Snapshot
from tests.faults.history import now_us
from tests.faults.looking import Looking, sqlite_file
from tests.processes import EndedAtOnceError, Service, up

TOPICS = Topics.with_partitions(EMBEDDED_PARTITIONS)
SMALLEST_FILE = 4096


@dataclass(slots=True)
class Subject:
    """The process, and what was seen of it; `wrapper` starts another build of it."""

    directory: Path
    flows: Path
    wrapper: Sequence[str] = ()
    ports: Sequence[int] = field(default_factory=lambda: free_ports(2))
    service: Service = field(init=False)
    snapshots: list[Snapshot] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    @property
    def address(self) -> str:
        """HOST:PORT, the same after each start."""
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def router(self) -> str:
        """HOST:PORT of gRPC, the same after each start."""
        return f"127.0.0.1:{self.ports[1]}"

    async def start(self, failpoints: str = "") -> None:
        """Start it; it takes requests when this returns."""
        starting = up(
            self.data,
            *("--flows", str(self.flows)),
            *("--http", self.address, "--grpc", self.router),
            environment={"HOOKLINE_FAILPOINTS": failpoints, **PARKING},
            wrapper=self.wrapper,
        )
        self.service = await self._running.enter_async_context(starting)

    async def start_to_end(self, failpoints: str, seconds: float) -> bool:
        """Start it so that it ends by itself, perhaps at once; tells whether it does."""
        try:
            async with asyncio.timeout(seconds):
                await self.start(failpoints)
                await self.service.process.wait()
        except EndedAtOnceError:
            return True
        except TimeoutError:
            return False
        return True

    async def kill(self) -> None:
        """End it as a crash does, and see what it has left."""
        if self.service.process.returncode is None:
            await self.service.kill()
        await self.ended()

    async def stop(self) -> None:
        """End it in good order."""
        assert await self.service.stop() == 0
        await self.ended()

    async def ended(self) -> None:
        """It has ended by itself, or was made to: look at what it has left."""
        await self._running.aclose()
        self._running = AsyncExitStack()
        self.snapshots += await asyncio.to_thread(_what_is_left, self.data)

    async def close(self) -> None:
        """End it, if it runs."""
        await self._running.aclose()

    async def freeze(self, seconds: float) -> None:
        """Hold it for a while, and let it go on as if no time had passed."""
        if self.service.process.returncode is None:
            self.service.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)  # the length of the fault
            self.service.process.send_signal(signal.SIGCONT)

    async def refuse_writes(self, seconds: float) -> tuple[int, int]:
        """No file of it can grow, as on a full disk; gives from when to when for certain.

        What was being written when it began may still have been kept.
        """
        pid = self.service.process.pid
        _, hard = prlimit(pid, RLIMIT_FSIZE)
        prlimit(pid, RLIMIT_FSIZE, (SMALLEST_FILE, hard))
        begun = now_us()
        await asyncio.sleep(seconds)  # the length of the fault
        ended = now_us()
        prlimit(pid, RLIMIT_FSIZE, (hard, hard))
        return begun, ended

    def weigh(self) -> None:
        """Note what it holds."""
        self.footprints.append(footprint("up", self.service.process.pid))


def footprint(service: str, pid: int) -> Footprint:
    """What a process holds now."""
    place = Path("/proc") / str(pid)
    status = dict(
        line.split(":", 1) for line in (place / "status").read_text().splitlines()
    )
    rss_mib = int(status["VmRSS"].split()[0]) / 1024
    descriptors = sum(1 for _ in (place / "fd").iterdir())
    return Footprint(service, rss_mib, int(status["Threads"]), descriptors)


def _what_is_left(data: Path) -> list[Snapshot]:
    """Commits, and then the journal, of a copy: who opens the file may mend it."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "data"
        shutil.copytree(data, copy)
        return asyncio.run(_snapshots(copy))


async def _snapshots(data: Path) -> list[Snapshot]:
    looking = Looking(TOPICS)
    with sqlite_file(data, TOPICS) as file:
        commits = await file.commits()
        await looking.look(file)
    return looking.snapshots(commits)


@asynccontextmanager
async def subject_of(
    directory: Path, flows: Path, wrapper: Sequence[str] = (), failpoints: str = ""
) -> AsyncIterator[Subject]:
    """Run it while the block runs."""
    subject = Subject(directory, flows, wrapper)
    await subject.start(failpoints)
    try:
        yield subject
    finally:
        await subject.close()
