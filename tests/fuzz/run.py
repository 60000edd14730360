"""A run: cases by their numbers, against one instance, and what it came to."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

import grpc

from benchmarks.consumption import resident_mb
from hookline.cli.options import TOKEN_FILE
from hookline.v1 import event_pb2, execution_pb2, execution_pb2_grpc
from tests.fuzz.caller import HEAD_TIMEOUT_S, answers_to
from tests.fuzz.cases import Case, case_of
from tests.fuzz.judge import Answer, Wrong, judge
from tests.fuzz.requests import FLOWS, KEY
from tests.processes import Service, up
from tests.waiting import until_asked

CALLERS: Final = 32
ACCEPTED: Final = 'hookline_requests_total{verdict="accepted"'
SETTLE_S: Final = 0.5
MOST_GROWTH_MB: Final = 48.0
MOST_DESCRIPTORS: Final = 8
ENVIRONMENT: Final = {
    "HOOKLINE_SECRET_KEY": KEY,
    "HOOKLINE_INGRESS__HEAD_TIMEOUT_S": str(HEAD_TIMEOUT_S),
    "HOOKLINE_INGRESS__BODY_TIMEOUT_S": str(HEAD_TIMEOUT_S),
    "HOOKLINE_INGRESS__BODY_FLOOR_BYTES_PER_S": str(10**6),
}


@dataclass(slots=True)
class Report:
    """What a run came to; `wrong` has a line for each case that went wrong."""

    requests: int = 0
    read_back: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: int = 0
    grown_mb: float = 0.0
    descriptors: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """The instance under fire: its process, its log of events, its lines on stderr."""

    service: Service
    stderr: Path
    events: "execution_pb2_grpc.ExecutionServiceAsyncStub"
    metadata: tuple[tuple[str, str], ...]

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.service.process.pid}/fd").iterdir()))

    def resident_mb(self) -> float:
        return resident_mb(self.service.process.pid)

    async def event(self, event_id: str) -> event_pb2.Event:
        request = execution_pb2.GetEventRequest(event_id=event_id)
        return (await self.events.GetEvent(request, metadata=self.metadata)).event

    async def wait_at_rest(self) -> None:
        """Return when all that was accepted has run, and connections have ended."""

        async def ended() -> bool:
            accepted = await self.service.metric(ACCEPTED)
            return await self.service.metric("hookline_executions_total") >= accepted

        async def settled() -> bool:
            before = self.descriptors()
            await asyncio.sleep(SETTLE_S)
            return self.descriptors() == before

        await until_asked(ended, 60.0)
        await until_asked(settled, 60.0)


@asynccontextmanager
async def target_in(directory: Path) -> AsyncIterator[Target]:
    """`hookline up` as a process of its own, with the flows of the grammar."""
    flows, stderr, data = directory / "flows", directory / "stderr", directory / "data"
    flows.mkdir()
    for flow_id, flow in FLOWS.items():
        (flows / f"{flow_id}.yaml").write_text(flow)
    wrapper = ("sh", "-c", 'exec "$@" 2>"$0"', str(stderr))
    arguments = ("--flows", str(flows))
    async with (
        up(data, *arguments, environment=ENVIRONMENT, wrapper=wrapper) as service,
        grpc.aio.insecure_channel(service.grpc) as channel,
    ):
        await service.wait_ready()
        token = (data / TOKEN_FILE).read_text().strip()
        stub = execution_pb2_grpc.ExecutionServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        yield Target(service, stderr, stub, metadata)


@dataclass(slots=True)
class Run:
    """Cases of a seed, fired at a target one number after the other."""

    target: Target
    seed: int
    # Of every so manieth case the bodies are compared with those in the log.
    each_read_back: int = 10
    report: Report = field(default_factory=Report)
    _numbers: Iterator[int] = field(default_factory=count)

    async def fire(self, requests: int) -> Report:
        """Send cases until so many requests are out; the first third is a warm-up."""
        target, report = self.target, self.report
        await self._send_until(requests // 3)
        await target.wait_at_rest()
        descriptors, held_mb = target.descriptors(), target.resident_mb()
        await self._send_until(requests)
        await target.wait_at_rest()
        report.descriptors = target.descriptors() - descriptors
        report.grown_mb = target.resident_mb() - held_mb
        _judge_process(target, report)
        return report

    async def fire_one(self, number: int) -> Report:
        """Send one case again, alone."""
        self.each_read_back = 1
        await self._send(case_of(self.seed, number))
        _judge_process(self.target, self.report)
        return self.report

    async def _send_until(self, requests: int) -> None:
        process = self.target.service.process

        async def caller() -> None:
            while self.report.requests < requests and process.returncode is None:
                case = case_of(self.seed, next(self._numbers))
                self.report.requests += case.requests
                await self._send(case)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(caller())

    async def _send(self, case: Case) -> None:
        begun = time.monotonic()
        try:
            answers = await answers_to(self.target.service.http, case)
            self._note(case, answers, time.monotonic() - begun)
            judge(answers, case.sent)
            if case.number % self.each_read_back == 0:
                await self._read_back(case, answers)
        except (Wrong, OSError, grpc.aio.AioRpcError) as error:
            alone = f"python -m tests.fuzz --seed {self.seed} --only {case.number}"
            self.report.wrong.append(f"case {case.number}: {error!r}; alone: {alone}")

    def _note(self, case: Case, answers: Sequence[Answer], seconds: float) -> None:
        self.report.statuses.update(answer.status for answer in answers)
        if seconds > self.report.slowest_s:
            self.report.slowest_s, self.report.slowest = seconds, case.number

    async def _read_back(self, case: Case, answers: Sequence[Answer]) -> None:
        """Raise Wrong unless the log holds the bytes that were sent."""
        for sent, answer in zip(case.sent, answers, strict=False):
            event_id = answer.headers.get("x-event-id")
            if answer.status != 200 or event_id is None:
                continue
            kept = (await self.target.event(event_id)).request
            self.report.read_back += 1
            if not _holds(kept, sent.body):
                raise Wrong(f"{str(kept)[:500]} is kept, of {sent.body[:200]!r}")


def _holds(kept: event_pb2.Request, body: bytes) -> bool:
    """Whether these bytes are in the log, or in the body store and their digest here."""
    if not kept.HasField("stored_body"):
        return kept.body == body
    stored = kept.stored_body
    return stored.size == len(body) and stored.sha256 == sha256(body).digest()


def _judge_process(target: Target, report: Report) -> None:
    if target.service.process.returncode is not None:
        report.wrong.append(f"it ended with {target.service.process.returncode}")
    lines = target.stderr.read_text(errors="replace").splitlines()
    report.wrong += [line[:2_000] for line in lines if _is_fault(line)][:5]
    if report.grown_mb > MOST_GROWTH_MB:
        report.wrong.append(f"memory has grown by {report.grown_mb:.0f} MB")
    if report.descriptors > MOST_DESCRIPTORS:
        report.wrong.append(f"{report.descriptors} descriptors more are open")


def _is_fault(line: str) -> bool:
    return any(
        word in line for word in ("request.failed", "Traceback", '"level":"error"')
    )
