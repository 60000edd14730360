"""How an execution fails for good."""

from hookline.errors import TerminalError


class StepFailed(Exception):
    """A step has failed for good: which, after how many attempts, and why."""

    def __init__(self, step_id: str, attempts: int, error: TerminalError) -> None:
        super().__init__(str(error))
        self.step_id = step_id
        self.attempts = attempts
        self.indeterminate = error.indeterminate
