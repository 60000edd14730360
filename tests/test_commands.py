"""The `hookline` command as a person uses it: what it prints, and how it fails."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.processes import Service, run, up

HELLO = """\
id: hello
name: Say hello
trigger: {webhook: {auth: {type: none}}}
steps: [{id: greet, use: transform, with: {body: "='Hello, ' & body.name"}}]
"""
SIGNED = """\
id: signed
trigger:
  webhook:
    auth:
      type: hmac
      secret: "${secret:BLOG}"
      template: "{ts}.{body}"
      timestamp_header: x-ts
steps: [{id: keep, use: transform, with: {body: =body.title}}]
"""
KEYED = """\
id: keyed
trigger: {webhook: {auth: {type: api_key, value: "${secret:KEY}"}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
SECRETS = {"HOOKLINE_SECRET_BLOG": "s3cret"}


class Shell:
    """Runs commands against one running instance."""

    def __init__(self, instance: Service, data: Path) -> None:
        self.up = instance
        self._environment = {
            **SECRETS,
            "HOOKLINE_DATA": str(data),
            "HOOKLINE_ROUTER": instance.grpc,
            "HOOKLINE_URL": f"http://{instance.http}",
        }

    async def __call__(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        """Run a command; gives exit code, stdout, stderr."""
        return await run(*arguments, environment={**self._environment, **more})


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    directory = tmp_path / "flows"
    directory.mkdir()
    (directory / "hello.yaml").write_text(HELLO)
    (directory / "signed.yaml").write_text(SIGNED)
    (directory / "keyed.yaml").write_text(KEYED)
    return directory


@pytest.fixture
async def shell(tmp_path: Path, flows: Path) -> AsyncIterator[Shell]:
    data = tmp_path / "data"
    environment = {**SECRETS, "HOOKLINE_EXECUTOR__DRAIN_S": "20"}
    async with up(data, "--flows", str(flows), environment=environment) as instance:
        yield Shell(instance, data)


async def line_with(hookline: Service, key: str) -> dict[str, object]:
    """The next printed line that has a key."""
    while key not in (line := await hookline.line()):
        pass
    return line


@pytest.mark.slow
async def test_send_list_and_get(shell: Shell) -> None:
    """An event is sent, is listed, and is shown with its request and its outcome."""
    code, out, err = await shell("send", "hello", "-d", '{"name": "Ada"}')
    assert (code, err) == (0, "")
    assert json.loads(out)["message"] == "thank you"
    line = await line_with(shell.up, "status")
    assert (line["flow"], line["status"]) == ("hello", "completed")

    code, out, _ = await shell("events", "list", "-o", "json", "--flow", "hello")
    [event] = json.loads(out)
    assert (event["status"], event["outcome"]) == ("completed", "Hello, Ada")

    code, out, _ = await shell("events", "get", event["event"])
    assert code == 0
    assert json.loads(out)["request"]["body"] == '{"name": "Ada"}'


@pytest.mark.slow
async def test_send_signs_as_the_flow_asks(shell: Shell) -> None:
    """With the secret of its environment; with another one it is refused."""
    right = await shell("send", "signed", "-d", '{"title": "First"}')
    wrong = await shell("send", "signed", "-d", "{}", HOOKLINE_SECRET_BLOG="other")

    assert right[0] == 0
    assert wrong[0] == 1
    assert "unauthenticated" in wrong[1]


@pytest.mark.slow
async def test_a_flow_without_its_secret_is_inactive_and_the_rest_runs(
    shell: Shell,
) -> None:
    """`up` names what is missing; the flow's URL is 404 as long as it was never applied."""
    line = await line_with(shell.up, "missing_secrets")
    assert (line["inactive"], line["missing_secrets"]) == ("keyed", ["KEY"])

    _, out, _ = await shell("flows", "list", "-o", "json")
    assert [flow["flow"] for flow in json.loads(out)] == ["hello", "signed"]


@pytest.mark.slow
async def test_publish_prints_the_events_id(shell: Shell) -> None:
    """Over gRPC, with the token of the data directory."""
    code, out, _ = await shell("publish", "hello", "-d", '{"name": "Bob"}')

    line = await line_with(shell.up, "status")
    assert code == 0
    assert line["event"] == out.strip()


@pytest.mark.slow
async def test_a_changed_file_is_applied_and_a_mistake_keeps_the_version_before(
    shell: Shell, flows: Path
) -> None:
    """First a good change, then a bad one."""
    (flows / "hello.yaml").write_text(HELLO.replace("Hello", "Good morning"))
    applied = await line_with(shell.up, "version")
    (flows / "hello.yaml").write_text(HELLO.replace("steps", "stesp"))
    refused = await line_with(shell.up, "mistake")
    await shell("send", "hello", "-d", '{"name": "Ada"}')
    await line_with(shell.up, "status")
    _, out, _ = await shell("events", "list", "-o", "json")

    assert (applied["flow"], applied["version"]) == ("hello", 2)
    assert "did you mean 'steps'?" in str(refused["mistake"])
    assert json.loads(out)[0]["outcome"] == "Good morning, Ada"


@pytest.mark.slow
async def test_apply_tells_every_mistake_and_applies_nothing(
    shell: Shell, tmp_path: Path
) -> None:
    """Of all files, with file and line; missing secrets are mistakes here."""
    new = tmp_path / "new"
    new.mkdir()
    (new / "a.yaml").write_text(HELLO.replace("hello", "other"))
    (new / "b.yaml").write_text(HELLO.replace("steps", "stesp").replace("name", "nmae"))
    (new / "c.yaml").write_text(KEYED)

    code, out, err = await shell("apply", "-f", str(new))
    _, listed, _ = await shell("flows", "list", "-o", "jsonl")

    assert (code, out) == (1, "")
    assert f"{new}/b.yaml:2: nmae: unknown field 'nmae': did you mean 'name'?" in err
    assert f"{new}/b.yaml:4: stesp: " in err
    assert "HOOKLINE_SECRET_KEY" in err
    assert '"other"' not in listed


@pytest.mark.slow
async def test_apply_makes_a_new_version_and_get_shows_it(
    shell: Shell, tmp_path: Path
) -> None:
    """Applying the same again changes nothing."""
    file = tmp_path / "other.yaml"
    file.write_text(HELLO.replace("hello", "other"))

    _, first, _ = await shell("apply", "-f", str(file))
    _, again, _ = await shell("apply", "-f", str(file))
    _, got, _ = await shell("flows", "get", "other")

    assert first == "other  version 1  applied\n"
    assert again == "other  version 1  unchanged\n"
    assert json.loads(got)["definition"]["steps"][0]["use"] == "transform"


@pytest.mark.slow
async def test_what_is_not_there_is_exit_code_3(shell: Shell) -> None:
    """A sentence says what to try."""
    for arguments in (
        ("events", "get", "nothing"),
        ("events", "get", "01a20d0b-8fac-753b-a459-6bbb82803389"),
        ("flows", "get", "nobody"),
        ("send", "nobody", "-d", "{}"),
        ("publish", "nobody", "-d", "{}"),
    ):
        code, out, err = await shell(*arguments)

        assert (code, out) == (3, "")
        assert err.startswith("hookline: There is no")


@pytest.mark.slow
async def test_a_wrong_token_is_exit_code_4(shell: Shell) -> None:
    """And what to do."""
    code, _, err = await shell("flows", "list", HOOKLINE_TOKEN="wrong")

    assert code == 4
    assert "HOOKLINE_TOKEN" in err


@pytest.mark.slow
async def test_health_and_nobody_there(shell: Shell) -> None:
    """Exit code 69 where nothing answers."""
    healthy = await shell("health")
    assert await shell.up.stop() == 0
    gone = await shell("health")

    assert healthy[:2] == (0, "serving\n")
    assert gone[0] == 69
    assert "hookline up" in gone[2]


@pytest.mark.slow
async def test_events_are_tailed_as_they_come(shell: Shell, tmp_path: Path) -> None:
    """JSON lines: the event, then its end."""
    import os

    from tests.processes import HOOKLINE

    process = await asyncio.create_subprocess_exec(
        *(HOOKLINE, "events", "tail", "--router", shell.up.grpc),
        env={**os.environ, "HOOKLINE_DATA": str(tmp_path / "data")},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    reading = asyncio.ensure_future(process.stdout.readline())
    while not reading.done():  # until the tail has begun, and then once more
        await shell("send", "hello", "-d", '{"name": "Ada"}')
    pending = json.loads(await reading)
    ended = json.loads(await process.stdout.readline())
    process.terminate()
    await process.wait()

    assert (pending["status"], ended["status"]) == ("pending", "completed")
    assert ended["flow"] == "hello"


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--http", "nonsense"], {}, "--http takes HOST:PORT"),
        ([], {"HOOKLINE_ROUTR__PUBLIC_URL": "x"}, "HOOKLINE_ROUTER__PUBLIC_URL"),
        ([], {"HOOKLINE_EGRESS_ALLOW": "soon"}, "HOOKLINE_EGRESS__ALLOW?"),
        ([], {"HOOKLINE_EXECUTOR__DRAIN_S": "soon"}, "HOOKLINE_EXECUTOR__DRAIN_S"),
        ([], {"HOOKLINE_EGRESS__ALLOW": "10.0.0.0/99"}, "HOOKLINE_EGRESS__ALLOW"),
    ],
)
@pytest.mark.slow
async def test_a_wrong_setting_is_exit_code_78_and_its_name(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    """A sentence; no traceback, no value."""
    ports = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    code, _, err = await run(
        *("up", "--data", str(tmp_path / "d"), *ports, *arguments),
        environment=environment,
    )

    assert code == 78
    assert says in err
    assert "Traceback" not in err
    assert "soon" not in err


@pytest.mark.parametrize("flag", ["--http", "--grpc", "--admin"])
@pytest.mark.slow
async def test_a_port_that_is_taken_is_exit_code_78(tmp_path: Path, flag: str) -> None:
    """It names the port and the flag."""
    ports = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = await run(
            "up", "--data", str(tmp_path / "d"), *ports, flag, address
        )

    assert code == 78
    assert address in err
    assert flag in err
    assert "Traceback" not in err


@pytest.mark.slow
async def test_a_data_directory_that_cannot_be_made_is_exit_code_78(
    tmp_path: Path,
) -> None:
    """It names the directory."""
    (tmp_path / "file").write_text("")
    code, _, err = await run("up", "--data", str(tmp_path / "file" / "data"))

    assert code == 78
    assert str(tmp_path / "file" / "data") in err
    assert "Traceback" not in err


@pytest.mark.slow
async def test_what_cannot_be_sent_is_said_in_a_sentence(
    shell: Shell, tmp_path: Path
) -> None:
    """A file that cannot be read, a token or a method that is none."""
    (tmp_path / "sub.yaml").mkdir()
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")

    for arguments, expected in (
        (("apply", "-f", str(tmp_path)), 1),
        (("events", "list", "--token", "wr\u00f6ng"), 4),
        (("events", "list", "--token", "a\nb"), 4),
        (("send", "hello", "-d", "{}", "-X", "GE T"), 2),
    ):
        code, _, err = await shell(*arguments)

        assert code == expected
        assert err.startswith("hookline: ")
        assert err.count("\n") == 1


@pytest.mark.slow
async def test_a_flow_whose_file_is_gone_is_said_to_be_served_still(
    shell: Shell, flows: Path
) -> None:
    """Nothing vanishes silently, and nothing stays silently either."""
    (flows / "hello.yaml").unlink()

    line = await line_with(shell.up, "without_file")

    assert line["without_file"] == "hello"


@pytest.mark.slow
async def test_a_new_version_that_lacks_a_secret_leaves_the_one_before(
    shell: Shell, flows: Path
) -> None:
    """And says that it goes on."""
    await line_with(shell.up, "missing_secrets")
    (flows / "signed.yaml").write_text(SIGNED.replace("BLOG", "OTHER"))

    line = await line_with(shell.up, "missing_secrets")

    assert (line["inactive"], line["served_version"]) == ("signed", 1)


@pytest.mark.slow
async def test_a_stop_does_not_wait_for_the_next_attempt(
    shell: Shell, flows: Path, tmp_path: Path
) -> None:
    """An event in its back-off is let go, and runs after the next start."""
    waiting = """\
id: waiting
trigger: {webhook: {auth: {type: none}}}
steps: [{id: call, use: http.request, with: {url: "http://127.0.0.1:1/"},
         retry: {initial_interval: 1h, maximum_interval: 1h}}]
"""
    (tmp_path / "waiting.yaml").write_text(waiting)
    await shell("apply", "-f", str(tmp_path / "waiting.yaml"))
    code, _, _ = await shell("send", "waiting", "-d", "{}")
    assert code == 0
    assert await shell.up.stop() == 0

    data = tmp_path / "data"
    async with up(data, "--flows", str(flows), environment=SECRETS) as again:
        _, out, _ = await Shell(again, data)("events", "list", "-o", "json")

    [event] = json.loads(out)
    assert event["status"] == "pending"


@pytest.mark.slow
@pytest.mark.timeout(180)  # a dozen commands, each a process of its own
async def test_a_flow_is_suspended_resumed_stopped_started_and_deleted(
    shell: Shell,
) -> None:
    """Each command says what the flow is then; a refusal says what to do instead."""
    said = [
        (await shell("flows", *words))[:2]
        for words in (
            ("suspend", "hello"),
            ("suspend", "hello"),
            ("resume", "hello"),
            ("stop", "hello"),
        )
    ]
    sent = await shell("send", "hello", "-d", "{}")
    refused = await shell("flows", "resume", "hello")
    started = await shell("flows", "start", "hello")
    deleted = await shell("flows", "delete", "hello", "--discard")
    _, listed, _ = await shell("flows", "list", "-o", "json")
    _, everything, _ = await shell("flows", "list", "--all", "-o", "json")
    gone = await shell("flows", "suspend", "hello")

    assert said == [
        (0, "hello  suspended\n"),
        (0, "hello  suspended  unchanged\n"),
        (0, "hello  active\n"),
        (0, "hello  stopped\n"),
    ]
    assert (sent[0], json.loads(sent[1])["status"]) == (1, 404)
    assert (refused[0], started[1]) == (1, "hello  active\n")
    assert "hookline flows start hello" in refused[2]
    assert deleted[1] == "hello  deleted\n"
    assert [one["flow"] for one in json.loads(listed)] == ["signed"]
    [hello] = [one for one in json.loads(everything) if one["flow"] == "hello"]
    assert (hello["state"], hello["discarded"]) == ("deleted", True)
    assert gone[0] == 3
    assert "hookline flows rollback hello" in gone[2]


@pytest.mark.slow
@pytest.mark.timeout(180)  # as above
async def test_versions_are_listed_and_rolled_back_to(
    shell: Shell, flows: Path
) -> None:
    """What a version was can be looked at before."""
    (flows / "hello.yaml").write_text(HELLO.replace("Hello", "Good morning"))
    await line_with(shell.up, "version")
    _, second, _ = await shell("flows", "get", "hello", "--version", "1")
    back = await shell("flows", "rollback", "hello", "--to", "1")
    again = await shell("flows", "rollback", "hello", "--to", "1")
    missing = await shell("flows", "rollback", "hello", "--to", "9")
    _, listed, _ = await shell("flows", "versions", "hello", "-o", "json")

    assert "Hello, " in second
    assert back[:2] == (0, "hello  version 3  as version 1\n")
    assert again[1] == "hello  version 3  unchanged\n"
    assert missing[0] == 3
    assert "There is no version 9" in missing[2]
    assert [(one["version"], one["current"]) for one in json.loads(listed)] == [
        (3, True),
        (2, False),
        (1, False),
    ]
    assert json.loads(listed)[0]["rolled_back_to"] == 1
