"""Fail points: named in one place, armed by the environment, and quiet otherwise."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookline import failpoints
from hookline.errors import BadConfiguration
from hookline.failpoints import POINTS, arm, failpoint

ROOT = Path(failpoints.__file__).parent.parent
HIT = """
import sys
from hookline.failpoints import arm, failpoint
arm(sys.argv[1])
for turn in (1, 2, 3):
    print(turn, flush=True)
    failpoint("executor.between_steps")
    failpoint("router.before_append")
"""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


@pytest.mark.parametrize(
    ("text", "turns", "code"),
    [
        ("executor.between_steps:kill@2", 2, -signal.SIGKILL),
        ("executor.between_steps:exit", 1, 1),
        ("ingress.before_forwarding:kill, router.before_append:exit@3", 3, 1),
        ("executor.between_steps:kill@4", 3, 0),
        ("", 3, 0),
    ],
)
def test_an_armed_point_ends_the_process_at_its_turn(
    text: str, turns: int, code: int
) -> None:
    """At the turn that was asked for; other points go on."""
    done = subprocess.run(
        [sys.executable, "-c", HIT, text], stdout=subprocess.PIPE, check=False
    )
    assert (len(done.stdout.split()), done.returncode) == (turns, code)


@pytest.mark.parametrize(
    "text",
    ["executor.no_such:kill", "router.before_append:burn", "router.before_append"],
)
def test_a_misspelt_point_is_refused(text: str) -> None:
    """Nobody waits for a crash that cannot come."""
    with pytest.raises(BadConfiguration, match="HOOKLINE_FAILPOINTS"):
        arm(text)


def test_every_point_stands_somewhere_and_every_place_is_named() -> None:
    """The list is what the code has."""
    sources = [p for d in ("hookline", "services") for p in (ROOT / d).rglob("*.py")]
    placed = {
        name
        for source in sources
        for name in re.findall(r'\bfailpoint\("([^"]+)"\)', source.read_text())
    }
    assert placed == set(POINTS)


def test_a_point_that_is_not_armed_is_passed() -> None:
    failpoint("executor.between_steps")
