"""How an execution fails for good, and how it is left for later."""

import time
from typing import Self

from hookline.errors import TerminalError


class StepFailed(Exception):
    """A step has failed for good: which, after how many attempts, and why."""

    def __init__(self, step_id: str, attempts: int, error: TerminalError) -> None:
        super().__init__(str(error))
        self.step_id = step_id
        self.attempts = attempts
        self.indeterminate = error.indeterminate


class Rests(Exception):
    """It goes on later: all is in the journal, nothing has to be kept.

    None: when it is woken.
    """

    def __init__(self, due_at_us: int | None) -> None:
        super().__init__()
        self.due_at_us = due_at_us

    @classmethod
    def seconds(cls, seconds: float) -> Self:
        """For so long from now on."""
        return cls(time.time_ns() // 1000 + int(seconds * 1_000_000))


class Stopped(Exception):
    """A person has decided that no step of it starts any more; its end says so."""


class Discarded(Exception):
    """The flow was deleted, and what it had accepted is not to run any more."""
