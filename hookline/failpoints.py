"""Named points at which a process may be ended or frozen: how tests place their crashes.

They do nothing unless they are armed when the process starts, by `HOOKLINE_FAILPOINTS`:
`executor.between_steps:kill@3` ends it the third time it passes there. Off, a point costs
one truth test. No other module has state of its own; these points stand where nothing
can be handed in without a price on every event.
"""

import os
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hookline.errors import BadConfiguration

POINTS: Final[Mapping[str, str]] = {
    "ingress.before_forwarding": "a request is read, and no router has seen it",
    "ingress.after_verdict_before_answer": "the verdict is here, and no byte of it sent",
    "router.before_append": "a request has passed, and the log has not seen it",
    "router.append_in_flight": "the log has the event, and has not said so",
    "router.after_append_before_answer": "the event is durable, and nobody was told",
    "executor.before_first_step": "an event is read, and no step has started",
    "executor.between_steps": "a step has ended, and the next one has not started",
    "executor.after_step_before_journal": "a step has ended, and nothing is written down",
    "executor.before_dead_letter": "an event has failed, and its letter is not written",
    "executor.after_dead_letter_before_journal": "the letter is durable, its end is not",
    "executor.after_control_before_acting": "what came of a control is durable, only",
    "executor.after_journal_before_commit": "ends are durable, and not committed",
}
ACTIONS: Final[Mapping[str, Callable[[], None]]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(1),
    "pause": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}
WORD: Final = re.compile(
    r"(?P<name>[a-z_.]+):(?P<action>[a-z]+)(?:@(?P<turn>[1-9]\d*))?"
)


@dataclass(slots=True)
class _Armed:
    act: Callable[[], None]
    turns_left: int


_armed: dict[str, _Armed] = {}


def failpoint(name: str) -> None:
    """Pass a point; where it is armed and its turn has come, this may be the end."""
    if _armed:
        _pass(name)


def arm(text: str) -> None:
    """Arm points: `NAME:ACTION` or `NAME:ACTION@TURN`, separated by commas.

    Raises BadConfiguration.
    """
    _armed.clear()
    for word in filter(None, map(str.strip, text.split(","))):
        found = WORD.fullmatch(word)
        if not found or found["name"] not in POINTS or found["action"] not in ACTIONS:
            raise BadConfiguration(
                f"HOOKLINE_FAILPOINTS: {word!r} is not NAME:ACTION@TURN. Names are "
                f"{', '.join(POINTS)}; actions are {', '.join(ACTIONS)}."
            )
        turn = int(found["turn"] or 1)
        _armed[found["name"]] = _Armed(ACTIONS[found["action"]], turn)


def _pass(name: str) -> None:
    if (armed := _armed.get(name)) is not None:
        armed.turns_left -= 1
        if armed.turns_left == 0:
            armed.act()
