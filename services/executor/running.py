"""Executions that run, as those see them who may stop one.

A stop is told at once and takes effect at the next safe place: between attempts, or where
the running step is to be cut off, in its midst. While an end, or a dead letter, is being
written nothing is cut off.
"""

import asyncio
from typing import Final

from hookline.components import Effect
from hookline.components.steps import BoundStep
from services.executor.failure import Stopped

PREPARING: Final = "before its first step"
IN_STEPS: Final = "in its steps"
ENDING: Final = "as its failure is written down"


class Running:
    """One execution that runs."""

    __slots__ = ("_cut", "phase", "step", "stopped", "task")

    def __init__(
        self, task: asyncio.Task[object] | None, step: BoundStep | None = None
    ) -> None:
        self.task = task
        self.phase = PREPARING
        self.step = step
        self.stopped = False
        self._cut = False

    @property
    def step_with_effects(self) -> str:
        """The step that may have done something when it was cut off."""
        step = self.step
        return step.id if step and step.component.effect is not Effect.PURE else ""

    def check(self) -> None:
        """Pass a safe place. Raises Stopped where nothing more may start."""
        if self.stopped:
            raise Stopped

    def stop(self, *, cuts_off: bool) -> None:
        """Start nothing more; with `cuts_off`, end what runs, too."""
        self.stopped = True
        is_safe = self.phase is PREPARING or (cuts_off and self.phase is IN_STEPS)
        if is_safe and self.task is not None and not self._cut:
            self._cut = self.task.cancel()

    def take_cut(self) -> bool:
        """Whether it was cut off by `stop`, and by nothing else; tells it once."""
        if not self._cut or self.task is None:
            return False
        self._cut = False
        return self.task.uncancel() == 0


class RunningExecutions:
    """Those of a partition, by the offsets of their events."""

    def __init__(self) -> None:
        self._by_offset: dict[int, Running] = {}

    def begin(self, offset: int) -> Running:
        """An execution runs, in the current task."""
        running = self._by_offset[offset] = Running(asyncio.current_task())
        return running

    def end(self, offset: int) -> None:
        """It does not run any more; a component may have outlived its being cut off."""
        self._by_offset.pop(offset).take_cut()

    def get(self, offset: int) -> Running | None:
        """The one of an event, if it runs."""
        return self._by_offset.get(offset)
