"""How an execution fails for good, and how it is left for later."""

from hookline.errors import TerminalError


class StepFailed(Exception):
    """A step has failed for good: which, after how many attempts, and why."""

    def __init__(self, step_id: str, attempts: int, error: TerminalError) -> None:
        super().__init__(str(error))
        self.step_id = step_id
        self.attempts = attempts
        self.indeterminate = error.indeterminate


class Rests(Exception):
    """The next attempt is due later: all is in the journal, nothing has to be kept."""

    def __init__(self, due_at_us: int) -> None:
        super().__init__()
        self.due_at_us = due_at_us


class Stopped(Exception):
    """A person has decided that no step of it starts any more; its end says so."""
