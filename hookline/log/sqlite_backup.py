"""A backup of the embedded log, taken while another process writes to it.

SQLite's online backup, within one read transaction: what is copied is the log as it was
at one moment, and writers go on meanwhile. Bodies in the data directory are copied after
it, so each that the copied log refers to is there. The copy appears under its name when
it is whole and durable; until then it is beside it, under another.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import apsw

from hookline.errors import BadConfiguration, Error
from hookline.log.sqlite_store import FILE_NAME

BODIES_NAME: Final = "bodies"
PAGES_AT_ONCE: Final = 1_000
BUSY_MS: Final = 5_000
Tell = Callable[[int, int], None]


def back_up(data: Path, to: Path, tell: Tell = lambda _done, _all: None) -> int:
    """Copy the log of a data directory into a new one; gives the bytes it takes. Blocks.

    `tell` hears how many pages are copied, and of how many. All that was durable when it
    is called is in the copy, and it opens clean: it was read through. Raises
    BadConfiguration where there is no log, or where the place is taken; Error where it
    cannot be written or is damaged, and then nothing of it is left behind.
    """
    if not (data / FILE_NAME).is_file():
        raise BadConfiguration(
            f"there is no log in {data}: name the data directory that `hookline up` "
            "runs on with --data."
        )
    if to.exists():
        raise BadConfiguration(f"{to} is there already: name a place that is not.")
    growing = to.with_name(f".{to.name}.unfinished-{os.getpid()}")
    try:
        with _removed_if_unfinished(growing):
            growing.mkdir(mode=0o700, parents=True)
            _copy_log(data / FILE_NAME, growing / FILE_NAME, tell)
            _copy_bodies(data / BODIES_NAME, growing / BODIES_NAME)
            size = sum(_settle(growing))
            growing.rename(to)
            _sync(to.parent)
    except (OSError, apsw.Error) as error:
        raise Error(
            f"the backup could not be written to {to}: {error}. What was begun is "
            "removed; the log itself is as it was."
        ) from error
    return size


@contextmanager
def _removed_if_unfinished(directory: Path) -> Iterator[None]:
    """Whatever ends the block early, a signal, too, takes the directory with it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _copy_log(source: Path, target: Path, tell: Tell) -> None:
    with ExitStack() as stack:
        reading = _opened(stack, source, apsw.SQLITE_OPEN_READWRITE)
        writing = _opened(
            stack, target, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        )
        target.chmod(0o600)
        # Kept until the end: without it, each commit of a writer would have the copy
        # begin anew, and under load it would never end.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        with writing.backup("main", reading, "main") as copy:
            while not copy.done:
                copy.step(PAGES_AT_ONCE)
                tell(copy.page_count - copy.remaining, copy.page_count)
        found = writing.execute("PRAGMA quick_check").fetchall()
        if found != [("ok",)]:
            raise Error(
                f"{source} is damaged: {found[0][0]}. The copy would be, too, and is "
                "removed: restore the data directory from a backup of before."
            )


def _opened(stack: ExitStack, path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    stack.callback(connection.close, True)  # noqa: FBT003 - apsw's own signature
    connection.set_busy_timeout(BUSY_MS)
    # Who only looks leaves the WAL to the log's own process, or to its next start.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def _copy_bodies(source: Path, target: Path) -> None:
    """Whole objects only; one that is trimmed meanwhile is needed by nobody."""
    for place, _, names in os.walk(source):
        directory = target / Path(place).relative_to(source)
        directory.mkdir(mode=0o700)
        for name in names:
            try:
                shutil.copyfile(Path(place) / name, directory / name)
            except FileNotFoundError:
                continue


def _settle(directory: Path) -> Iterator[int]:
    """Have everything in a directory on the disk; gives the sizes of its files."""
    for place, _, names in os.walk(directory):
        for name in names:
            _sync(Path(place) / name)
            yield (Path(place) / name).stat().st_size
        _sync(Path(place))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
