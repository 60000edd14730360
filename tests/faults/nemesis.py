"""Composes faults from a seed and does them to a running subject, one after another.

Each round waits until some more was accepted, and ends with the subject well again. A
kill at a fail point is armed when the subject is started, at the end of the round before.
"""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from hookline.cli.log_place import EMBEDDED_PARTITIONS
from hookline.failpoints import POINTS
from tests.faults.effects import Receiver
from tests.faults.generator import Generator
from tests.faults.history import Fault, History, now_us
from tests.faults.subject import Subject

REACHED_S = 8.0
NOT_REACHED = " (not reached)"
PLAIN = ("kill", "stop", "kill-in-step")
# Passed once a partition at each start: it is armed for a start of its own.
RESTORING = "executor.while_restoring"
# What is sent here asks for no decision: that point is of tests/test_controls.py.
HERE = [name for name in POINTS if name != "executor.after_control_before_acting"]
# One event in a hundred rests for so long that its flow is passed.
PASSED = "executor.after_passed_before_commit"


Passing = Literal["freeze", "full disk"]


@dataclass(frozen=True, slots=True)
class Round:
    """One fault: perhaps one that heals by itself first, then what ends the process."""

    fault: str
    wait: int
    first: Passing | None = None
    seconds: float = 0.0

    @property
    def failpoints(self) -> str:
        """What has to be armed when the process starts."""
        if self.fault not in POINTS or self.fault == RESTORING:
            return ""
        if self.fault == PASSED:
            return f"{self.fault}:kill@{1 + self.wait // 40}"
        # Commits are made a few times a second, dead letters are few.
        rare = "dead_letter" in self.fault or "commit" in self.fault
        return f"{self.fault}:kill@{1 + self.wait // 8 if rare else self.wait}"


def every_point(random: Random) -> list[Round]:
    """A round for each fail point and each plain fault, shuffled."""
    rounds = [_round(random, fault) for fault in [*HERE, *PLAIN]]
    rounds += [Round("kill", 150, "full disk", 1.0), Round("stop", 30, "freeze", 0.8)]
    random.shuffle(rounds)
    return rounds


def some(random: Random, count: int) -> list[Round]:
    """So many rounds of any kind."""
    faults = random.choices([*HERE, *PLAIN], k=count)
    return [_round(random, fault) for fault in faults]


def _round(random: Random, fault: str) -> Round:
    """An armed process may end at any moment: nothing else is done to it."""
    wait = random.randrange(5, 120)
    if fault in POINTS or random.random() < 0.5:
        return Round(fault, wait)
    return Round(
        fault, wait, random.choice(get_args(Passing)), random.choice((0.3, 1.0, 2.5))
    )


@dataclass(slots=True)
class Nemesis:
    """Does rounds to a subject under load."""

    subject: Subject
    generator: Generator
    receiver: Receiver
    history: History

    async def do(self, rounds: Sequence[Round]) -> None:
        """All of them; the subject was started for the first one."""
        for index, one in enumerate(rounds):
            if one.first is not None:
                await self._pass(one.first, one.seconds)
            following = rounds[index + 1] if index + 1 < len(rounds) else None
            await self._end(one, following.failpoints if following else "")
        await self.generator.until_more(20)
        self.subject.weigh()

    async def _end(self, one: Round, failpoints: str) -> None:
        """Bring the end of the process about, and start it again."""
        name = one.fault
        if one.failpoints or one.fault == "kill-in-step":
            if not one.failpoints:
                self._kill_in_step(one.wait)
            name += await self._wait_end(REACHED_S)
        else:
            await self.generator.until_more(one.wait)
            self.subject.weigh()
        at_us = now_us()
        if one.fault == "stop":
            await self.subject.stop()
        else:
            await self.subject.kill()
        self.receiver.on_effect = None
        if name == RESTORING:
            armed = f"{RESTORING}:kill@{1 + one.wait % EMBEDDED_PARTITIONS}"
            if not await self.subject.start_to_end(armed, REACHED_S):
                name += NOT_REACHED
            await self.subject.kill()
        await self.subject.start(failpoints)
        self.history.add(Fault(at_us=at_us, name=name, healed_us=now_us(), crashes=1))

    async def _wait_end(self, seconds: float) -> str:
        """Return when the process has ended; where it does not, it will be killed."""
        try:
            async with asyncio.timeout(seconds):
                await self.subject.service.process.wait()
        except TimeoutError:
            return NOT_REACHED
        return ""

    def _kill_in_step(self, after: int) -> None:
        """Kill it when a step has had its effect, and has no answer."""
        process = self.subject.service.process
        left = after

        def count_down() -> None:
            nonlocal left
            left -= 1
            if left == 0 and process.returncode is None:
                process.send_signal(signal.SIGKILL)

        self.receiver.on_effect = count_down

    async def _pass(self, name: Passing, seconds: float) -> None:
        """A fault that heals by itself; the process lives on."""
        await self.generator.until_more(5)
        at_us = now_us()
        window = None
        if name == "freeze":
            await self.subject.freeze(seconds)
        else:
            window = await self.subject.refuse_writes(seconds)
        self.history.add(
            Fault(at_us=at_us, name=name, healed_us=now_us(), unwritable_us=window)
        )
