"""hookline ingress --workers N: processes that share the public port, and their parent.

The parent listens and the workers inherit its socket, so that a new connection goes to
whoever takes it first: none that was made is lost with a worker, an address that is taken
is noticed once, and nobody else joins the port by chance, as with SO_REUSEPORT. The
parent takes no requests; its admin port tells of all workers.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from hookline.cli.addresses import address, with_port
from hookline.cli.admin import NOT_READY, READY, Admin, Answer, serve_admin
from hookline.cli.process import Facts, run_service
from hookline.cli.readiness import Readiness
from hookline.cli.worker import Worker
from hookline.errors import BadConfiguration, Error
from hookline.http_client import GuardedClient, HttpClient
from hookline.metrics import ProcessMetrics, joined
from hookline.settings import Settings
from hookline.telemetry import get_logger
from services.ingress.serve import BACKLOG, cannot_listen

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
LONG_LIFE_S: Final = 30.0
BAD_CONFIGURATION: Final = 78
LOOPBACK: Final = (ip_network("127.0.0.0/8"),)
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkersOptions:
    """What the command line says of an ingress with several workers."""

    http: str
    router: str
    admin: str
    workers: int


def run_workers(options: WorkersOptions) -> None:
    """Start the workers and keep them running. Raises BadConfiguration, or Error."""

    @asynccontextmanager
    async def opened(_settings: Settings, readiness: Readiness) -> AsyncIterator[Facts]:
        with listening(options.http) as listener:
            workers = _workers(options, listener.fileno())
            async with GuardedClient(allow=LOOPBACK) as client:
                overview = Overview(workers, client, readiness)
                admin = Admin(
                    *address(options.admin, "--admin"),
                    overview.readiness,
                    overview.metrics,
                )
                async with serve_admin(admin) as admin_port, keeping(workers):
                    port = listener.getsockname()[1]
                    yield {
                        "http": f"http://{with_port(options.http, port)}",
                        "router": options.router,
                        "admin": f"http://{with_port(options.admin, admin_port)}",
                        "workers": options.workers,
                    }
        _ensure_ended_well(workers)

    run_service("ingress", opened)


def _workers(options: WorkersOptions, descriptor: int) -> list[Worker]:
    command = (
        *("ingress", "--http", f"fd:{descriptor}"),
        *("--router", options.router, "--workers", "1"),
    )
    return [Worker(n, command, descriptor) for n in range(options.workers)]


def _ensure_ended_well(workers: Sequence[Worker]) -> None:
    badly = [worker for worker in workers if worker.exit_code]
    if badly:
        ended = ", ".join(f"{one.number} with {one.exit_code}" for one in badly)
        raise Error(f"workers did not end well: {ended}; see their lines above")


class Overview:
    """What the parent's admin port shows of all workers."""

    def __init__(
        self, workers: Sequence[Worker], client: HttpClient, readiness: Readiness
    ) -> None:
        self._workers = workers
        self._client = client
        self._readiness = readiness
        self._able = False
        self._own = ProcessMetrics(lambda: self._able)
        self._own.add_restarts(lambda: sum(worker.restarts for worker in workers))

    async def readiness(self) -> Answer:
        """Ready while one worker is: it takes what comes, as the port is shared."""
        if missing := self._readiness.missing():
            return NOT_READY, {"status": "not ready", "missing": missing}
        asked = [worker.missing(self._client) for worker in self._workers]
        missing_by_worker = dict(enumerate(await asyncio.gather(*asked)))
        able = [n for n, missing in missing_by_worker.items() if not missing]
        workers = {
            str(n): missing or "ready" for n, missing in missing_by_worker.items()
        }
        if able:
            return READY, {"status": "ready", "workers": workers}
        return NOT_READY, {
            "status": "not ready",
            "missing": missing_by_worker[0],
            "workers": workers,
        }

    async def metrics(self) -> bytes:
        """The parent's own, and each worker's under its number."""
        status, _ = await self.readiness()
        self._able = status == READY
        asked = [worker.metrics(self._client) for worker in self._workers]
        texts = await asyncio.gather(*asked)
        by_worker = {str(n): text.decode() for n, text in enumerate(texts)}
        return joined(self._own.exposition().decode(), "worker", by_worker)


@contextmanager
def listening(place: str) -> Iterator[socket.socket]:
    """Listen on the public port for the workers. Raises BadConfiguration."""
    host, port = address(place, "--http")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, where = min(found, key=lambda one: one[0])  # IPv4 first
        listener = socket.create_server(where, family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise cannot_listen(place, error) from error
    with listener:
        yield listener


@asynccontextmanager
async def keeping(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """Keep the workers running while the block runs, then stop all of them."""
    async with asyncio.TaskGroup() as tasks:
        kept = [tasks.create_task(_keep(worker)) for worker in workers]
        try:
            for worker in workers:
                await worker.wait_started()
            yield
        finally:
            for task in kept:
                task.cancel()


async def _keep(worker: Worker) -> None:
    """Start it again when it ends, with a growing pause where it does so soon."""
    loop = asyncio.get_running_loop()
    pause_s = FIRST_PAUSE_S
    while True:
        begun = loop.time()
        code = await worker.live()
        if code == BAD_CONFIGURATION:
            raise BadConfiguration("a worker cannot start: see its sentence above")
        if loop.time() - begun > LONG_LIFE_S:
            pause_s = FIRST_PAUSE_S
        logger.warning("worker.ended", worker=worker.number, exit_code=code)
        worker.restarts += 1
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
