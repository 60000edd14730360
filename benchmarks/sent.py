"""What wrk sends where each request is the same one: a body, and its credential."""

import hmac
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ingress import HOOKLINE
from benchmarks.load import Contender, free_port, started

KEY = "benchmark"
SCRIPT = """
local file = io.open({body}, "rb")
wrk.method, wrk.path, wrk.body = "POST", {path}, file:read("*a")
{headers}
"""
STEPS = "steps: [{id: keep, use: transform, with: {body: 1}}]"
FLOWS = {
    "open": "auth: {type: none}",
    "signed": 'auth: {type: hmac, secret: "${secret:KEY}"}',
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, sent again and again."""

    name: str
    flow_id: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def script(self) -> Iterator[Path]:
        """It as wrk reads it."""
        with tempfile.TemporaryDirectory() as directory:
            body, script = Path(directory) / "body", Path(directory) / "script.lua"
            body.write_bytes(self.body)
            headers = "\n".join(
                f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}"
                for name, value in self.headers.items()
            )
            path = json.dumps(f"/hook/{self.flow_id}")
            script.write_text(
                SCRIPT.format(body=json.dumps(str(body)), path=path, headers=headers)
            )
            yield script


def json_of(size: int) -> bytes:
    """A JSON object of so many bytes."""
    frame = b'{"name": "Ada", "note": ""}'
    return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]


def signature(body: bytes) -> dict[str, str]:
    """The header that lets a body in."""
    return {"x-eio-signature": hmac.digest(KEY.encode(), body, "sha256").hex()}


@contextmanager
def edge() -> Iterator[Contender]:
    """`hookline up` without its executor: the flows here, with and without a credential."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for flow_id, webhook in FLOWS.items():
            flow = f"id: {flow_id}\ntrigger: {{webhook: {{{webhook}}}}}\n{STEPS}\n"
            (directory / f"{flow_id}.yaml").write_text(flow)
        address = f"127.0.0.1:{free_port()}"
        command = [
            *(str(HOOKLINE), "up", "--data", f"{directory}/data", "--no-executor"),
            *("--flows", str(directory), "--http", address),
            *("--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        ]
        environment = {"HOOKLINE_SECRET_KEY": KEY}
        pid, _ = stack.enter_context(started(command, environment))
        yield Contender("up, no executor", address, {"up": pid})
