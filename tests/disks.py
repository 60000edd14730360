"""A disk that fails on demand, under the embedded log: an apsw VFS over the real one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw  # noqa: TID251 - the fault is put under SQLite itself


class FaultyDisk(apsw.VFS):
    """Passes everything on, until a fault is switched on; switched off, it works again.

    `full`: writes find no space. `broken_writes`, `broken_syncs`: they give I/O errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.full = False
        self.broken_writes = False
        self.broken_syncs = False
        self.hanging = False
        self.failures = 0
        self._answers = threading.Event()
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return FaultyFile(self, name, flags)

    def hang(self) -> Callable[[], None]:
        """While `hanging`, syncs do not return until the function given back is called."""
        return self._answers.set

    def wait_if_hanging(self) -> None:
        """Called before each sync."""
        if self.hanging:
            self._answers.wait(10)

    def heal(self) -> None:
        """Work as before."""
        self.full = self.broken_writes = self.broken_syncs = False


class FaultyFile(apsw.VFSFile):
    """A file of it."""

    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.full:
            self._disk.failures += 1
            raise apsw.FullError("no space left on device")
        if self._disk.broken_writes:
            self._disk.failures += 1
            raise apsw.IOError("input/output error")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.wait_if_hanging()
        if self._disk.broken_syncs:
            self._disk.failures += 1
            raise apsw.IOError("input/output error")
        super().xSync(flags)


@contextmanager
def faulty_disk(name: str) -> Iterator[FaultyDisk]:
    """A disk with a name that SQLite knows while the block runs."""
    disk = FaultyDisk(name)
    try:
        yield disk
    finally:
        disk.unregister()
