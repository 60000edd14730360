"""`hookline events …` and `hookline dead-letters …` as a person uses them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.event import IN_LINE_BYTES
from tests.processes import run, up
from tests.waiting import until_asked

HOLDING = """\
id: holding
trigger: {webhook: {auth: {type: none}}}
steps: [{id: add, use: transform, with: {body: =body.n + 1}}]
on_exhausted: hold
"""
FAILING = HOLDING.replace("hold", "fail").replace("on_exhausted: fail\n", "")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Shell:
    """Runs commands against one running instance."""

    def __init__(self, data: Path, grpc: str, http: str) -> None:
        self._environment = {
            "HOOKLINE_DATA": str(data),
            "HOOKLINE_ROUTER": grpc,
            "HOOKLINE_URL": f"http://{http}",
        }

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; gives exit code, stdout, stderr."""
        return await run(*arguments, environment=self._environment)

    async def send(self, flow_id: str, body: str) -> None:
        """Send a webhook."""
        code, _, err = await self("send", flow_id, "-d", body)
        assert (code, err) == (0, "")

    async def rows(self, *arguments: str) -> list[dict[str, object]]:
        """What a list has, as JSON."""
        code, out, err = await self(*arguments, "-o", "json")
        assert code == 0, err
        rows: list[dict[str, object]] = json.loads(out)
        return rows

    async def until_events(self, count: int, *arguments: str) -> list[str]:
        """The ids of events, when a list has so many; the newest first."""
        ids: list[str] = []

        async def are_there() -> bool:
            ids[:] = [
                str(one["event"])
                for one in await self.rows("events", "list", *arguments)
            ]
            return len(ids) == count

        await until_asked(are_there)
        return ids


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "holding.yaml").write_text(HOLDING)
    (flows / "failing.yaml").write_text(FAILING)
    async with up(tmp_path / "data", "--flows", str(flows)) as instance:
        yield Shell(tmp_path / "data", instance.grpc, instance.http)


async def test_held_events_are_edited_and_skipped(shell: Shell) -> None:
    """One is mended, the next one passed over; what has ended is a conflict."""
    await shell.send("holding", '{"n": "one"}')
    await shell.send("holding", '{"n": "two"}')
    [held] = await shell.until_events(1, "--status", "held")

    edited = await shell("events", "edit", held, "-d", '{"n": 1}')
    [other] = await shell.until_events(1, "--status", "held")
    dry = await shell("events", "skip", "--flow", "holding", "--dry-run")
    unasked = await shell("events", "skip", "--flow", "holding")
    skipped = await shell("events", "skip", "--flow", "holding", "--yes")
    late = await shell("events", "cancel", held)
    rows = await shell.rows("events", "list", "--flow", "holding")

    assert edited[:2] == (0, held + "\n")
    assert dry[:2] == (0, "1 event\n")
    assert unasked[0] == 2
    assert "--yes" in unasked[2]
    assert skipped[:2] == (0, other + "\n")
    assert late[0] == 1
    assert "has ended (completed)" in late[2]
    assert [(one["status"], one["event"]) for one in rows] == [
        ("skipped", other),
        ("completed", held),
    ]


async def test_a_body_that_is_in_the_store_is_not_shown_as_nothing(
    shell: Shell, tmp_path: Path
) -> None:
    """It is said where it is."""
    body = json.dumps({"n": "x" * IN_LINE_BYTES})
    (tmp_path / "body").write_text(body)
    await shell.send("failing", f"@{tmp_path / 'body'}")
    [event] = await shell.until_events(1, "--status", "failed")

    code, out, err = await shell("dead-letters", "get", event, "--body")

    assert (code, out) == (1, "")
    assert f"{len(body)} bytes is in the body store" in err


async def test_dead_letters_are_shown_and_replayed(shell: Shell) -> None:
    """Those of a filter; afterwards they show what has become of it."""
    await shell.send("failing", '{"n":  "one"}')
    [event] = await shell.until_events(1, "--status", "failed")

    [letter] = await shell.rows("dead-letters", "list", "--since", "1h")
    body = await shell("dead-letters", "get", event, "--body")
    got = await shell("dead-letters", "get", event)
    dry = await shell("dead-letters", "replay", "--flow", "failing", "--dry-run")
    code, out, err = await shell("dead-letters", "replay", event)
    replay = json.loads(out)
    again = await shell("dead-letters", "replay", event)
    [_, first] = await shell.until_events(2, "--status", "failed")
    shown = json.loads((await shell("events", "get", first))[1])

    assert (letter["event"], letter["step"]) == (event, "add")
    assert body[1] == '{"n":  "one"}'
    assert json.loads(got[1])["request"]["body"] == '{"n":  "one"}'
    assert dry[1] == "1 dead letter\n"
    assert (code, replay["state"], replay["appended"]) == (0, "done", 1)
    assert "cancel-replay" in err
    assert again[1] == "0 dead letters\n"
    assert shown["dead_letter"]["replays"] == shown["replays"]
    assert [one["what"] for one in shown["timeline"]] == ["ended"]


async def test_events_are_found_and_replayed_by_filter(shell: Shell) -> None:
    """With a rate; the replays are listed."""
    for number in range(3):
        await shell.send("failing", f'{{"n": {number}}}')
    ids = await shell.until_events(3, "--status", "completed")
    first = await shell("events", "list", "--limit", "2")
    page = first[2].split("--page ")[1].strip()
    rest = await shell.rows("events", "list", "--limit", "2", "--page", page)
    unnamed = await shell("events", "replay", "--yes")

    code, out, _ = await shell(
        *("events", "replay", "--flow", "failing", "--status", "completed"),
        *("--since", "1h", "--rate", "1000", "--yes"),
    )
    replays = await shell.rows("events", "replays")
    ended = await shell("events", "cancel-replay", str(replays[0]["replay"]))
    rows = await shell.rows("events", "list", "--not-replayed")

    assert [one["event"] for one in rest] == [ids[2]]
    assert unnamed[0] == 2
    assert "--flow" in unnamed[2]
    assert (code, json.loads(out)["appended"]) == (0, 3)
    assert json.loads(ended[1])["state"] == "done"
    assert [one["replayed"] for one in rows] == ids


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("events", "list", "--since", "soon"), 2, "30m, 12h, 7d"),
        (("events", "list", "--status", "well"), 2, "--status"),
        (("events", "retry"), 2, "name ids, or a filter"),
        (("events", "edit", "x"), 2, "--data"),
        (("events", "retry", "x"), 1, "There is no event 'x'"),
        (("dead-letters", "get", "x"), 3, "There is no dead letter 'x'"),
        (("events", "cancel-replay", "x"), 3, "There is no replay 'x'"),
    ],
)
async def test_mistakes_are_said_in_a_sentence(
    shell: Shell, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """With an exit code that tells whose they are."""
    found, _, err = await shell(*arguments)

    assert found == code
    assert says in " ".join(err.replace("│", " ").split())
