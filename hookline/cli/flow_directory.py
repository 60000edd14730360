"""A directory of flow files, applied at the start and again when files change.

A flow whose secrets are missing is not applied; a file with a mistake keeps the version
before it; the rest goes on. A file that says what it said before its flow was deleted, or
rolled back, is left alone: what a person has decided holds until the file changes.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
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
    served_version: int  # the one before, which goes on; 0 where there is none


@dataclass(frozen=True, slots=True)
class Overruled:
    """A flow whose file is left alone, and what was done to the flow instead."""

    flow_id: str
    done: str


@dataclass(frozen=True, slots=True)
class News:
    """What applying the directory has brought."""

    changed: list[Applied] = field(default_factory=list)
    inactive: list[Inactive] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    without_file: list[str] = field(default_factory=list)
    overruled: list[Overruled] = field(default_factory=list)


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
        async with self._applier.turn:
            return await self._apply()

    async def _apply(self) -> News:
        self._seen = self._snapshot()
        files, unreadable = self._files()
        flows, mistakes = await asyncio.to_thread(self._applier.check, files)
        mistakes += unreadable
        if not self.path.is_dir():
            text = "there is no such directory: no flow file is applied"
            mistakes.append(Mistake(str(self.path), 0, "", text))
        inactive = [
            Inactive(read.flow.id, missing, self._served_version(read.flow.id))
            for read in flows
            if (missing := self._applier.missing_secrets(read))
        ]
        overruled = [
            Overruled(read.flow.id, done)
            for read in flows
            if (done := self._applier.overruled(read))
        ]
        waiting = {one.flow_id for one in inactive}
        waiting |= {one.flow_id for one in overruled}
        ready = [read for read in flows if read.flow.id not in waiting]
        try:
            applied = await self._applier.apply(ready)
        except Unavailable as error:
            self._seen = {}  # and try again
            applied = []
            mistakes.append(Mistake(str(self.path), 0, "", str(error)))
        changed = [one for one in applied if one.changed]
        in_files = {read.flow.id for read in flows}
        # A file with a mistake may be the file of any flow: then nothing is said.
        without_file = [
            one.flow.id
            for one in self._registry.all()
            if one.flow.id not in in_files and not mistakes
        ]
        self.news = News(changed, inactive, mistakes, without_file, overruled)
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

    def held(self) -> list[tuple[str, str]]:
        """The flows of which nothing runs, and the command that mends it."""
        return self._applier.held()

    def _served_version(self, flow_id: str) -> int:
        served = self._registry.get(flow_id)
        return served.version if served else 0

    def _paths(self) -> Sequence[Path]:
        try:
            return sorted(p for p in self.path.iterdir() if p.suffix in SUFFIXES)
        except OSError:
            return []

    def _files(self) -> tuple[list[FlowFile], list[Mistake]]:
        files = []
        unreadable = []
        for path in self._paths():
            try:
                files.append(FlowFile(str(path), path.read_bytes()))
            except FileNotFoundError:
                continue  # gone since it was listed
            except OSError as error:
                text = f"the file cannot be read: {error.strerror}"
                unreadable.append(Mistake(str(path), 0, "", text))
        return files, unreadable

    def _snapshot(self) -> Snapshot:
        snapshot = {}
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if not entry.name.endswith(SUFFIXES):
                    continue
                with suppress(OSError):  # gone since it was listed
                    stat = entry.stat()
                    snapshot[entry.path] = stat.st_mtime_ns, stat.st_size, stat.st_ino
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
                known = directory.news
                news = await directory.apply()
                inactive = [one for one in news.inactive if one not in known.inactive]
                mistakes = [one for one in news.mistakes if one not in known.mistakes]
                gone = [
                    one for one in news.without_file if one not in known.without_file
                ]
                left = [one for one in news.overruled if one not in known.overruled]
                tell(News(news.changed, inactive, mistakes, gone, left))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(look())
        try:
            yield
        finally:
            task.cancel()
