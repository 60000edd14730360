"""A directory of flow files, applied at the start and again when files change.

A flow whose secrets are missing is not applied; a file with a mistake keeps the version
before it; the rest goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hookline.cli.flows import SUFFIXES
from hookline.errors import Unavailable
from hookline.flow import Flow
from hookline.flow_file import FlowFile, Mistake
from services.router.applier import Applied, Applier
from services.router.registry import Registry

LOOK_S = 1.0
Snapshot = dict[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Inactive:
    """A flow that is not applied, because secrets are missing."""

    flow_id: str
    missing_secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class News:
    """What applying the directory has brought."""

    changed: list[Applied] = field(default_factory=list)
    inactive: list[Inactive] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)


class FlowDirectory:
    """The flow files of `hookline up`."""

    def __init__(self, path: Path, applier: Applier, registry: Registry) -> None:
        self.path = path
        self._applier = applier
        self._registry = registry
        self._seen: Snapshot = {}
        self.news = News()

    async def apply(self) -> News:
        """Read all files and apply what can be applied."""
        self._seen = self._snapshot()
        flows, mistakes = self._applier.check(self._files())
        inactive = [
            Inactive(read.flow.id, missing)
            for read in flows
            if (missing := self._applier.missing_secrets(read))
        ]
        waiting = {one.flow_id for one in inactive}
        ready = [read for read in flows if read.flow.id not in waiting]
        try:
            applied = await self._applier.apply(ready)
        except Unavailable as error:
            self._seen = {}  # and try again
            applied = []
            mistakes.append(Mistake(str(self.path), 0, "", str(error)))
        changed = [one for one in applied if one.changed]
        self.news = News(changed, inactive, mistakes)
        return self.news

    def has_changed(self) -> bool:
        """Whether a file has changed since it was applied, or its secrets have come."""
        return self._snapshot() != self._seen or any(
            self._applier.has_all(one.missing_secrets) for one in self.news.inactive
        )

    def reload_inactive(self) -> None:
        """Serve the flows whose secrets have come."""
        self._registry.reload_inactive()

    def served(self) -> list[tuple[Flow, tuple[str, ...]]]:
        """The flows of this instance, each with the secrets it lacks."""
        return [(one.flow, one.missing_secrets) for one in self._registry.all()]

    def _paths(self) -> Sequence[Path]:
        try:
            return sorted(p for p in self.path.iterdir() if p.suffix in SUFFIXES)
        except OSError:
            return []

    def _files(self) -> list[FlowFile]:
        files = []
        for path in self._paths():
            try:
                files.append(FlowFile(str(path), path.read_bytes()))
            except OSError:
                continue  # gone since it was listed
        return files

    def _snapshot(self) -> Snapshot:
        snapshot = {}
        for path in self._paths():
            try:
                stat = path.stat()
            except OSError:
                continue  # gone since it was listed
            snapshot[str(path)] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return snapshot


@asynccontextmanager
async def watch(
    directory: FlowDirectory, tell: Callable[[News], None]
) -> AsyncIterator[None]:
    """Apply the directory again when files change or secrets come, in the block."""

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            directory.reload_inactive()
            if directory.has_changed():
                known = directory.news.inactive
                news = await directory.apply()
                fresh = [one for one in news.inactive if one not in known]
                tell(News(news.changed, fresh, news.mistakes))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(look())
        try:
            yield
        finally:
            task.cancel()
