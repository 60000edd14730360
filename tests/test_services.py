"""Each service as a process of its own: readiness, stops, workers, wrong settings."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.caller import Answer, call, read_answer, request_bytes
from tests.processes import HOOKLINE, Service, run, service, up
from tests.stores import bodies_in
from tests.waiting import until_asked

JSON = ("Content-Type", "application/json")
HELLO = """\
id: hello
trigger: {webhook: {auth: {type: none}}}
steps: [{id: greet, use: transform, with: {body: "='Hello, ' & body.name"}}]
"""
WAITING = """\
id: waiting
trigger: {webhook: {auth: {type: none}}}
steps: [{id: call, use: http.request, with: {url: "http://127.0.0.1:1/"},
         retry: {initial_interval: 1h, maximum_interval: 1h}}]
"""
TOKENS = {
    "HOOKLINE_ROUTER__TOKENS": "inner",
    "HOOKLINE_ROUTER__EDGE_TOKENS": "edge, another-edge",
    "HOOKLINE_INGRESS__ROUTER_TOKEN": "edge",
}
AWAITED = "log.awaited"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


def free_port() -> str:
    """An address that nobody listens at just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def router(
    tmp_path: Path, grpc: str = "127.0.0.1:0"
) -> AbstractAsyncContextManager[Service]:
    """A router on an embedded log."""
    log = f"sqlite:{tmp_path / 'log'}"
    environment = {**TOKENS, "HOOKLINE_BODIES__STORE": bodies_in(tmp_path).as_uri()}
    return service("router", "--log", log, "--grpc", grpc, environment=environment)


def ingress(
    target: str, *arguments: str, **more: str
) -> AbstractAsyncContextManager[Service]:
    """An ingress before a router."""
    return service(
        *("ingress", "--http", "127.0.0.1:0", "--router", target, *arguments),
        environment={**TOKENS, **more},
    )


async def apply(tmp_path: Path, target: str) -> None:
    """Apply the flow `hello`."""
    (tmp_path / "hello.yaml").write_text(HELLO)
    code, _, err = await run(
        *("apply", "-f", str(tmp_path / "hello.yaml"), "--router", target),
        environment={"HOOKLINE_TOKEN": "inner"},
    )
    assert (code, err) == (0, "")


async def send(edge: Service, body: bytes = b'{"name": "Ada"}') -> Answer:
    """Send a webhook to `hello`."""
    return await call(edge.http, "POST", "/hook/hello", (JSON,), body)


@dataclass(frozen=True, slots=True)
class Line:
    """A router and an ingress that serve the flow `hello`."""

    router: Service
    ingress: Service


@asynccontextmanager
async def running(tmp_path: Path, *arguments: str) -> AsyncIterator[Line]:
    """A line, ready."""
    async with (
        router(tmp_path) as behind,
        ingress(behind.grpc, *arguments) as edge,
    ):
        await apply(tmp_path, behind.grpc)
        await edge.wait_ready()
        yield Line(behind, edge)


def children(parent: Service) -> list[int]:
    """The ids of a process's children."""
    pid = parent.process.pid
    return [
        int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


async def all_gone(pids: Sequence[int]) -> bool:
    """Whether processes have ended."""
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)  # noqa: ASYNC240, PTH110 - no disk


@dataclass(frozen=True, slots=True)
class Half:
    """A request that is half sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rest: bytes

    async def finish(self) -> Answer:
        """Send the rest, and read the answer."""
        self.writer.write(self.rest)
        return await read_answer(self.reader)


@asynccontextmanager
async def half_sent(line: Line, body: bytes) -> AsyncIterator[Half]:
    """A request of which the router, or the ingress at least, has the first half."""
    host, _, port = line.ingress.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    whole = request_bytes("POST", "/hook/hello", (JSON,), body)
    middle = len(whole) - len(body) // 2
    try:
        writer.write(whole[:middle])
        await line.ingress.wait_metric("hookline_http_requests_in_flight", 1)
        yield Half(reader, writer, whole[middle:])
    finally:
        writer.close()


async def test_webhooks_go_through_the_services_and_are_seen(tmp_path: Path) -> None:
    """What the ingress answers with 200, the router lists."""
    async with running(tmp_path) as line:
        answer = await send(line.ingress)
        code, out, _ = await run(
            *("events", "list", "-o", "jsonl", "--router", line.router.grpc),
            environment={"HOOKLINE_TOKEN": "inner"},
        )

        assert (answer.status, code) == (200, 0)
        assert answer.headers["x-event-id"] in out
        assert (
            await line.router.metric('hookline_requests_total{verdict="accepted"') == 1
        )
        assert await line.router.metric("hookline_append_seconds_count") == 1
        assert (
            await line.ingress.metric('hookline_http_responses_total{status="200"') == 1
        )


async def test_an_ingress_is_ready_when_a_router_is_there(tmp_path: Path) -> None:
    """Before it says what is missing, and callers get 503; the order of starts is free."""
    target = free_port()
    async with ingress(target) as edge:
        missing = await edge.missing()
        refused = await send(edge)
        health = await run("health", "--admin", edge.admin)
        async with router(tmp_path, target):
            await edge.wait_ready()
            await apply(tmp_path, target)

            assert (await send(edge)).status == 200
            assert (await run("health", "--admin", edge.admin))[:2] == (0, "ready\n")
        await edge.wait_missing("router")

    assert target in missing["router"]
    assert refused.status == 503
    assert refused.headers["retry-after"]
    assert health[0] == 69
    assert target in health[2]


async def test_a_wrong_edge_token_leaves_the_ingress_not_ready(tmp_path: Path) -> None:
    """An internal caller's token is none of an edge either."""
    async with (
        router(tmp_path) as behind,
        ingress(behind.grpc, HOOKLINE_INGRESS__ROUTER_TOKEN="inner") as edge,
    ):
        await apply(tmp_path, behind.grpc)

        assert "router" in await edge.missing()
        assert (await send(edge)).status == 503
        assert "router" in await edge.missing()


async def test_a_stopped_ingress_answers_what_it_has_taken(tmp_path: Path) -> None:
    """It is not ready at once, takes nothing new, and ends with 0."""
    async with running(tmp_path) as line, half_sent(line, b'{"name": "Ada"}') as half:
        line.ingress.process.send_signal(signal.SIGTERM)
        await line.ingress.wait_missing("service")
        answer = await half.finish()

        assert await line.ingress.process.wait() == 0
        assert answer.status == 200
        with pytest.raises(ConnectionError):
            await send(line.ingress)


async def test_a_stopped_router_answers_what_it_has_taken(tmp_path: Path) -> None:
    """A large body that is on its way is taken to its end; the router ends with 0."""
    body = b'{"name": "' + b"A" * 300_000 + b'"}'
    async with running(tmp_path) as line, half_sent(line, body) as half:
        # More than goes in line with the head: the router has let it pass.
        await line.router.wait_metric("hookline_router_bytes_in_flight", 100_000)
        line.router.process.send_signal(signal.SIGTERM)
        await line.ingress.wait_missing("router")
        answer = await half.finish()

        assert await line.router.process.wait() == 0
        assert answer.status == 200


async def test_workers_share_the_port_and_one_that_dies_is_started_again(
    tmp_path: Path,
) -> None:
    """The other one serves meanwhile; all of them end with their parent's stop."""
    async with running(tmp_path, "--workers", "2") as line:
        edge = line.ingress
        for worker in ("0", "1"):
            name = f'hookline_ready{{worker="{worker}"'
            await edge.wait_metric(name, 1)
        first, second = children(edge)
        os.kill(first, signal.SIGKILL)
        await edge.wait_metric("hookline_worker_restarts", 1)
        answers = [await send(edge) for _ in range(20)]
        await edge.wait_metric('hookline_ready{worker="0"', 1)
        await edge.wait_metric('hookline_ready{worker="1"', 1)

        assert {answer.status for answer in answers} == {200}
        assert await edge.stop() == 0
        assert await all_gone([second])


async def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Nobody is left behind that holds the port."""
    async with running(tmp_path, "--workers", "2") as line:
        workers = children(line.ingress)
        await line.ingress.kill()
        await until_asked(partial(all_gone, workers))

        with pytest.raises(ConnectionError):
            await send(line.ingress)


async def test_an_executor_alone_runs_what_is_in_the_log(tmp_path: Path) -> None:
    """The log was left by another process; what cannot end yet is counted."""
    data = tmp_path / "log"
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "hello.yaml").write_text(HELLO)
    (tmp_path / "flows" / "waiting.yaml").write_text(WAITING)
    async with up(data, "--no-executor", "--flows", str(tmp_path / "flows")) as first:
        assert (await send(first)).status == 200
        for _ in range(3):
            await call(first.http, "POST", "/hook/waiting", (JSON,), b"{}")
        assert await first.stop() == 0
    async with service("executor", "--log", f"sqlite:{data}") as executor:
        await executor.wait_ready()
        await executor.wait_metric('hookline_executions_total{status="completed"', 1)

        await executor.wait_metric("hookline_unfinished_events", 3)

        assert executor.started["service"] == "executor"
        assert await executor.metric("hookline_partitions_owned") == 8
        assert await executor.stop() == 0


@pytest.mark.parametrize("command", ["router", "executor"])
async def test_a_start_waits_for_brokers_and_can_be_stopped(command: str) -> None:
    """It tells what it waits for, on its admin port too, and SIGTERM ends it with 0."""
    admin = free_port()
    process = await asyncio.create_subprocess_exec(
        *(HOOKLINE, command, "--log", f"kafka://{free_port()}", "--admin", admin),
        env={**os.environ, **TOKENS},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while (line := json.loads(await process.stderr.readline()))["event"] != AWAITED:
        continue  # what the library says of it
    answer = await call(admin, "GET", "/readyz")
    process.send_signal(signal.SIGTERM)

    assert await process.wait() == 0
    assert "No broker answers" in line["error"]
    assert answer.status == 503
    assert "kafka://" in answer.json["missing"]["service"]


@pytest.mark.parametrize("command", ["router", "executor"])
async def test_brokers_that_stay_away_are_exit_code_69(command: str) -> None:
    """When the deadline of the start has passed."""
    code, _, err = await run(
        *(command, "--log", f"kafka://{free_port()}", "--admin", "127.0.0.1:0"),
        environment={**TOKENS, "HOOKLINE_LOG__START_DEADLINE_S": "0"},
    )

    assert code == 69
    assert "No broker answers" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", ["create", "check"])
async def test_topics_without_a_broker_are_exit_code_69(verb: str) -> None:
    """A sentence, in bounded time."""
    place = f"kafka://{free_port()}"
    code, _, err = await run("topics", verb, "--log", place, "--wait", "1")

    assert code == 69
    assert "No broker answers" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["router", "--log", "sqlite:x"], {}, "HOOKLINE_ROUTER__EDGE_TOKENS"),
        (["router", "--log", "sqlite:x"], {}, "HOOKLINE_ROUTER__TOKENS"),
        (
            ["router", "--log", "sqlite:x"],
            {"HOOKLINE_ROUTER__TOKENS": "a,b", "HOOKLINE_ROUTER__EDGE_TOKENS": "b"},
            "share a token",
        ),
        (["ingress"], {}, "HOOKLINE_INGRESS__ROUTER_TOKEN"),
        (["ingress", "--router", "nowhere"], TOKENS, "--router"),
        (["ingress", "--workers", "2"], {}, "HOOKLINE_INGRESS__ROUTER_TOKEN"),
        (["router"], TOKENS, "kafka://HOST:PORT"),
        (["executor"], {}, "kafka://HOST:PORT"),
        (["executor", "--log", "postgres:x"], {}, "postgres:x"),
        (["executor", "--log", "kafka://"], {}, "no broker"),
        (["executor", "--log", "kafka://one,two:2"], {}, "HOST:PORT"),
        (["topics", "check", "--log", "sqlite:x"], {}, "sqlite:x"),
        (
            ["executor", "--log", "sqlite:x"],
            {"HOOKLINE_KAFKA__REPLICATION": "1"},
            "HOOKLINE_KAFKA__MIN_INSYNC (2) is more",
        ),
    ],
)
async def test_what_cannot_be_meant_is_exit_code_78(
    arguments: list[str], environment: dict[str, str], says: str
) -> None:
    """With a sentence that says what to set."""
    ports = [] if arguments[0] == "topics" else ["--admin", "127.0.0.1:0"]
    if arguments[0] == "ingress":
        ports += ["--http", "127.0.0.1:0"]
    code, _, err = await run(*arguments, *ports, environment=environment)

    assert code == 78
    assert says in err
    assert "Traceback" not in err
