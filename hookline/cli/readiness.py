"""Whether a service can do its work now, and what is missing where it cannot."""

import asyncio
from collections.abc import Callable, Mapping

Met = Callable[[], bool]
STARTING = "it starts: ask again"
STOPPING = "it was told to stop"


class Readiness:
    """What a service needs; ready when it has started and all of it is there.

    From the moment it is told to stop it is not ready any more.
    """

    def __init__(self) -> None:
        self._needs: dict[str, tuple[str, Met]] = {}
        self._stop = asyncio.Event()
        self.started = False
        self.start_waits_for = STARTING

    def need(self, name: str, missing: str, met: Met) -> None:
        """Add a need: a sentence for who asks while it is not met, and whether it is."""
        self._needs[name] = (missing, met)

    def start(self) -> None:
        """All is open."""
        self.started = True

    def stop(self) -> None:
        """The process was told to stop."""
        self._stop.set()

    async def wait_stop(self) -> None:
        """Return when the process is told to stop."""
        await self._stop.wait()

    @property
    def stopping(self) -> bool:
        """Whether the process was told to stop."""
        return self._stop.is_set()

    @property
    def ready(self) -> bool:
        """Whether the service can do its work."""
        return not self.missing()

    @property
    def able(self) -> bool:
        """The same, for a port that opens as one of the last things of a start."""
        return not self.stopping and not self._unmet()

    def missing(self) -> Mapping[str, str]:
        """A sentence for each thing that is missing, by its name."""
        if self.stopping:
            return {"service": STOPPING}
        if not self.started:
            return {"service": self.start_waits_for}
        return self._unmet()

    def _unmet(self) -> Mapping[str, str]:
        return {name: text for name, (text, met) in self._needs.items() if not met()}
