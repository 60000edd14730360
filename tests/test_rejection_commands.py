"""`hookline rejections` as a person uses it: what it prints, and how it fails."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.caller import Answer, call
from tests.processes import Service, run, up
from tests.waiting import until_asked

FLOWS = """\
id: {id}
trigger:
  webhook:
    auth: {{type: api_key, value: "${{secret:KEY}}"}}
    keep_rejected: {kept}
steps: [{{id: keep, use: transform, with: {{body: =body}}}}]
"""
JSON = ("Content-Type", "application/json")
pytestmark = pytest.mark.slow


class Shell:
    """Runs commands against one running instance."""

    def __init__(self, instance: Service, data: Path) -> None:
        self.up = instance
        self._environment = {
            "HOOKLINE_DATA": str(data),
            "HOOKLINE_ROUTER": instance.grpc,
        }

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; gives exit code, stdout, stderr."""
        return await run(*arguments, environment=self._environment)

    async def refused(self, flow_id: str, body: bytes = b'{"n": 1}') -> str:
        """Have a request refused; gives the id of what is kept of it."""
        answer: Answer = await call(
            self.up.http, "POST", f"/hook/{flow_id}", [JSON], body
        )
        assert answer.status == 401

        async def there() -> bool:
            code, out, _ = await self("rejections", "list", "-o", "json")
            assert code == 0
            found.update(
                {one["request_id"]: one["rejection"] for one in json.loads(out)}
            )
            return answer.headers["x-request-id"] in found

        found: dict[str, str] = {}
        await until_asked(there)
        return found[answer.headers["x-request-id"]]


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    flows = tmp_path / "flows"
    flows.mkdir()
    for flow_id, kept in (("kept", "true"), ("cut", "false")):
        (flows / f"{flow_id}.yaml").write_text(FLOWS.format(id=flow_id, kept=kept))
    data = tmp_path / "data"
    environment = {"HOOKLINE_SECRET_KEY": "right"}
    async with up(data, "--flows", str(flows), environment=environment) as instance:
        yield Shell(instance, data)


async def test_list_get_and_accept(shell: Shell) -> None:
    """A refused request is listed with its cause, shown, and run after all."""
    rejection_id = await shell.refused("kept")

    _, table, _ = await shell("rejections", "list", "--reason", "unauthenticated")
    _, none, talk = await shell("rejections", "list", "--flow", "cut")
    _, shown, _ = await shell("rejections", "get", rejection_id)
    _, body, _ = await shell("rejections", "get", rejection_id, "--body")
    code, event_id, _ = await shell("rejections", "accept", rejection_id)
    again = await shell("rejections", "accept", rejection_id)
    _, event, _ = await shell("events", "get", event_id.strip())

    assert rejection_id in table
    assert "x-api-key is no times in the headers" in table
    assert (none, talk) == ("", "no rejections\n")
    assert json.loads(shown)["request"]["body"] == body == '{"n": 1}'
    assert code == 0
    assert again == (0, event_id, f"{rejection_id} was already accepted\n")
    assert json.loads(event)["from_rejection"] == rejection_id
    assert json.loads(event)["request"]["body"] == '{"n": 1}'


async def test_what_cannot_be_accepted_says_what_to_do(shell: Shell) -> None:
    """With exit codes as everywhere."""
    rejection_id = await shell.refused("cut")

    cut = await shell("rejections", "accept", rejection_id)
    unknown = await shell("rejections", "accept", "nothing")
    unseen = await shell("rejections", "get", "nothing")

    assert (cut[0], cut[1]) == (1, "")
    assert "set `keep_rejected: true` on the trigger of the flow cut" in cut[2]
    assert (unknown[0], unseen[0]) == (3, 3)
    assert "no rejection 'nothing'" in unknown[2]


async def test_the_metrics_tell_what_was_kept(shell: Shell) -> None:
    """And what was not."""
    await shell.refused("cut")

    await shell.up.wait_metric("hookline_rejections_kept_total", 1)
    assert await shell.up.metric("hookline_rejections_left_out_total") == 0
    assert await shell.up.metric("hookline_rejections_dropped_total") == 0
