"""A disk under the embedded log that loses and tears what was not synced: a power cut.

An apsw VFS over the real one. Beside each file it keeps what is certain to be on the
platter, and the writes since. At the cut each of those may be there, not be there, or be
there in part, sector by sector, in any order; a sector may hold what nobody has written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw  # noqa: TID251 - the fault is put under SQLite itself

SECTOR: Final = 512
Change = Callable[[bytearray], None]


@dataclass(slots=True)
class Platter:
    """One file: what was synced, and the writes and truncations since, in order."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        """All of it is certain."""
        for offset, written in self.since:
            _apply(self.synced, offset, written)
        self.since.clear()

    def after_cut(self, random: Random) -> bytes:
        """What may be found when the power is back."""
        found = bytearray(self.synced)
        keeps = random.choice((0.0, 0.5, 0.9, 1.0))
        trashes = random.choice((0.0, 0.0, 0.05, 0.5))
        for offset, written in self.since:
            if written is None:
                if random.random() < keeps:
                    _apply(found, offset, None)
                continue
            for start in range(0, len(written), SECTOR):
                sector = written[start : start + SECTOR]
                if random.random() < trashes:
                    sector = random.randbytes(len(sector))
                elif random.random() >= keeps:
                    continue
                _apply(found, offset + start, sector)
        return bytes(found)

    def after_crash(self) -> bytes:
        """What the next process finds: the system has kept what it was given."""
        found = bytearray(self.synced)
        for offset, written in self.since:
            _apply(found, offset, written)
        return bytes(found)


Platters = dict[str, Platter]


def _apply(content: bytearray, offset: int, written: bytes | None) -> None:
    """Write at an offset, or end the file there."""
    if written is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(written)] = written


class LosingDisk(apsw.VFS):
    """Works like any other; `cut` tells what would be left of it at this moment.

    `at_call` counts writes and syncs down, and then calls `on_cut` in their midst.
    """

    def __init__(self, name: str, platters: Platters) -> None:
        self.name = name
        self.platters = platters
        self.calls_left = 0
        self.on_cut: Callable[[], None] = lambda: None
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        if path.name not in self.platters:
            there = path.read_bytes() if path.exists() else b""
            self.platters[path.name] = Platter(bytearray(there))
        return LosingFile(self, self.platters[path.name], name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's
        self.platters.pop(Path(filename).name, None)
        super().xDelete(filename, syncdir)

    def count(self) -> None:
        """Called before each write and sync."""
        self.calls_left -= 1
        if self.calls_left == 0:
            self.on_cut()

    def write_cut(self, directory: Path, random: Random) -> None:
        """Put into a directory what would be found there after a cut at this moment."""
        directory.mkdir()
        for name, platter in self.platters.items():
            (directory / name).write_bytes(platter.after_cut(random))

    def write_crash(self, directory: Path) -> Platters:
        """The same of a crash of the process alone: all is there, and may yet be lost.

        Gives what is known of the files, for the disk of the next process.
        """
        directory.mkdir()
        for name, platter in self.platters.items():
            (directory / name).write_bytes(platter.after_crash())
        return deepcopy(self.platters)


class LosingFile(apsw.VFSFile):
    """A file of it."""

    def __init__(
        self, disk: LosingDisk, platter: Platter, name: Any, flags: list[int]
    ) -> None:
        self._disk = disk
        self._platter = platter
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.count()
        self._platter.since.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._platter.since.append((newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.count()
        super().xSync(flags)
        self._platter.sync()


@contextmanager
def losing_disk(name: str, platters: Platters) -> Iterator[LosingDisk]:
    """A disk with a name that SQLite knows while the block runs.

    `platters` is what a crash has left, by file name; nothing after a power cut.
    """
    disk = LosingDisk(name, platters)
    try:
        yield disk
    finally:
        disk.unregister()
