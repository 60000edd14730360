"""The services as processes on a real Kafka: topics, the whole line, stops."""

import json
import uuid
from pathlib import Path

import pytest

from tests.caller import call
from tests.processes import run, service
from tests.waiting import until_asked

JSON = ("Content-Type", "application/json")
HELLO = """\
id: hello
trigger: {webhook: {auth: {type: none}}}
steps: [{id: greet, use: transform, with: {body: "='Hello, ' & body.name"}}]
"""
pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def environment(kafka_servers: tuple[str, ...]) -> dict[str, str]:
    """What all services are started with: topics of this test's own, one copy each."""
    return {
        "HOOKLINE_LOG": f"kafka://{','.join(kafka_servers)}",
        "HOOKLINE_LOG__PARTITIONS": "6",
        "HOOKLINE_KAFKA__TOPIC_PREFIX": f"{uuid.uuid4().hex}.",
        "HOOKLINE_KAFKA__REPLICATION": "1",
        "HOOKLINE_KAFKA__MIN_INSYNC": "1",
        "HOOKLINE_ROUTER__TOKENS": "inner",
        "HOOKLINE_ROUTER__EDGE_TOKENS": "edge",
        "HOOKLINE_INGRESS__ROUTER_TOKEN": "edge",
        "HOOKLINE_TOKEN": "inner",
    }


async def test_topics_are_made_once_and_checked(environment: dict[str, str]) -> None:
    """What is missing or wrong is exit code 78, and a service refuses to start on it."""
    missing = await run("topics", "check", environment=environment)
    refused = await run("executor", "--admin", "127.0.0.1:0", environment=environment)
    made = await run("topics", "create", "--wait", "30", environment=environment)
    again = await run("topics", "create", environment=environment)
    checked = await run("topics", "check", environment=environment)
    other = {**environment, "HOOKLINE_LOG__PARTITIONS": "7"}
    wrong = await run("topics", "check", environment=other)

    assert (missing[0], refused[0]) == (78, 78)
    assert "hookline topics create" in missing[2]
    assert "hookline topics create" in refused[2]
    assert (made[0], len(made[1].splitlines())) == (0, 6)
    assert (again[0], again[1]) == (0, "")
    assert checked[0] == 0
    assert wrong[0] == 78
    assert "HOOKLINE_LOG__PARTITIONS=6" in wrong[2]


async def test_webhooks_go_through_services_of_their_own(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """In whatever order they start; two executors share the partitions; all end well."""
    (tmp_path / "hello.yaml").write_text(HELLO)
    assert (await run("topics", "create", environment=environment))[0] == 0
    grpc = ("--grpc", "127.0.0.1:0")
    async with (
        service("executor", environment=environment) as executor,
        service("executor", environment=environment) as other,
        service(
            *("console", *grpc, "--data", str(tmp_path / "index")),
            environment=environment,
        ) as console,
        service(
            *("router", *grpc),
            environment={**environment, "HOOKLINE_ROUTER__CONSOLE": console.grpc},
        ) as router,
        service(
            *("ingress", "--http", "127.0.0.1:0", "--router", router.grpc),
            environment=environment,
        ) as ingress,
    ):
        environment = {**environment, "HOOKLINE_ROUTER": router.grpc}
        applied = await run(
            "apply", "-f", str(tmp_path / "hello.yaml"), environment=environment
        )
        for one in (ingress, executor, other):
            await one.wait_ready()
        await executor.wait_metric("hookline_partitions_owned", 3)
        await other.wait_metric("hookline_partitions_owned", 3)
        sent = [
            await call(ingress.http, "POST", "/hook/hello", (JSON,), b'{"name": "Ada"}')
            for _ in range(10)
        ]
        listing = ("events", "list", "-o", "json", "--flow", "hello")
        outcomes: dict[str, str] = {}

        async def all_ended() -> bool:
            _, out, _ = await run(*listing, environment=environment)
            outcomes.update({e["event"]: e.get("outcome") for e in json.loads(out)})
            return set(outcomes.values()) == {"Hello, Ada"}

        await until_asked(all_ended)
        at_the_console = {**environment, "HOOKLINE_ROUTER": console.grpc}
        direct = await run(*listing, environment=at_the_console)
        letters = await run("dead-letters", "list", environment=environment)
        unknown = await run("events", "get", "x", environment=environment)
        code, replayed, _ = await run(
            *("events", "replay", "--flow", "hello", "--yes", "--rate", "1000"),
            environment=environment,
        )
        services = (executor, ingress, router, other, console)
        stops = [await one.stop() for one in services]

    assert applied[0] == 0
    assert {answer.status for answer in sent} == {200}
    assert set(outcomes) == {answer.headers["x-event-id"] for answer in sent}
    assert {one["event"] for one in json.loads(direct[1])} == set(outcomes)
    assert (letters[0], unknown[0]) == (0, 3)
    assert (code, json.loads(replayed)["appended"]) == (0, 10)
    assert stops == [0, 0, 0, 0, 0]


async def test_a_router_without_a_console_says_so(
    environment: dict[str, str],
) -> None:
    """And one whose console is away, where it looked for it."""
    assert (await run("topics", "create", environment=environment))[0] == 0
    for address, says in (("", "hookline console"), ("127.0.0.1:1", "127.0.0.1:1")):
        async with service(
            *("router", "--grpc", "127.0.0.1:0"),
            environment={**environment, "HOOKLINE_ROUTER__CONSOLE": address},
        ) as router:
            asked = {**environment, "HOOKLINE_ROUTER": router.grpc}
            code, _, err = await run("events", "list", environment=asked)

        assert code in (1, 69)
        assert says in err
