"""Bodies that nothing refers to any more: found by the time in their names, and deleted.

A body's name holds the time at which it began to be written, at most `LONGEST_S` before it
is complete. So what is older than the oldest event, by a margin above that, belongs to no
event, whether it was trimmed or never came to be. Bodies that are being written are left.
"""

import asyncio
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import obstore
from obstore.exceptions import BaseError

from hookline.body_writing import first_line
from hookline.errors import Unavailable

PAGE: Final = 1000
UUID7: Final = 7
# Of a crash's unfinished file: as long as it is written to it is younger than that.
UNTOUCHED_S: Final = 86_400


async def delete_local(directory: Path, before_ms: int) -> int:
    """Delete what is older from a directory, files of a crash with it; tells how many.

    Raises Unavailable.
    """
    deleted = 0
    try:
        with closing(_entries(directory)) as entries:
            while page := await asyncio.to_thread(_page, entries):
                deleted += await asyncio.to_thread(_delete, page, before_ms)
    except OSError as error:
        text = f"the directory {directory} of the body store cannot be used: {error}"
        raise Unavailable(text) from error
    return deleted


def _entries(directory: Path) -> Generator["os.DirEntry[str]", None, None]:
    """What is in a directory, a few names in memory at a time."""
    if directory.is_dir():
        with os.scandir(directory) as found:
            yield from found


def _page(entries: Iterator["os.DirEntry[str]"]) -> Sequence["os.DirEntry[str]"]:
    return list(islice(entries, PAGE))


def _delete(page: Sequence["os.DirEntry[str]"], before_ms: int) -> int:
    deleted = 0
    for entry in page:
        name, unfinished, _ = entry.name.partition("#")
        if not is_older(name, before_ms) or (unfinished and _is_touched(entry)):
            continue
        try:
            Path(entry.path).unlink()
        except FileNotFoundError:
            continue  # whoever wrote it has given it up meanwhile
        deleted += 1
    return deleted


def _is_touched(entry: "os.DirEntry[str]") -> bool:
    try:
        return time.time() - entry.stat().st_mtime < UNTOUCHED_S
    except FileNotFoundError:
        return True


async def delete_remote(objects: Any, place: str, before_ms: int) -> int:
    """Delete what is older from a bucket, by its names' order; tells how many.

    Raises Unavailable.
    """
    deleted = 0
    try:
        async for page in obstore.list(objects, prefix=place, chunk_size=PAGE):
            names = [one["path"] for one in page]
            older = [name for name in names if is_older(_last_part(name), before_ms)]
            if older:
                await obstore.delete_async(objects, older)
                deleted += len(older)
            if any(is_younger(_last_part(name), before_ms) for name in names):
                break
    except BaseError as error:
        text = f"the body store does not answer: {first_line(error)}"
        raise Unavailable(text) from error
    return deleted


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def is_older(name: str, before_ms: int) -> bool:
    """Whether a name is that of a body that began to be written before a time."""
    at_ms = _time_ms(name)
    return at_ms is not None and at_ms < before_ms


def is_younger(name: str, before_ms: int) -> bool:
    """Whether a name is that of a body that began to be written at a time or after it."""
    at_ms = _time_ms(name)
    return at_ms is not None and at_ms >= before_ms


def _time_ms(name: str) -> int | None:
    try:
        uuid = UUID(name)
    except ValueError:
        return None
    return uuid.int >> 80 if uuid.version == UUID7 else None
