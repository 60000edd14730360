"""Stop 3, bodies too large for the log: each an object in a directory or a bucket.

An event never refers to an object that is not there as a whole: `finish` returns when the
object is complete and durable, and only then is its name known to anybody. What is left
without `finish` leaves nothing, neither a part of a file nor an unfinished multipart
upload. Objects are named `<partition>/<uuid7>`, so that what is older than the first
record of a partition can be told by its name; copies for dead letters, which are kept
longer, `letters-<partition>/<uuid7>`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url
from uuid_utils import uuid7

from hookline.body_trimming import delete_local, delete_remote
from hookline.body_writing import AWAY, Writing, first_line
from hookline.errors import BadConfiguration, TerminalError, Unavailable
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2

if TYPE_CHECKING:  # obstore has them for type checkers alone
    from obstore.store import ClientConfig, RetryConfig

PIECE_BYTES: Final = 256 * 1024
# What is asked for at once: a reader that is slow holds no request open. Of a bucket it is
# more, for each question has its way to go.
WINDOW_BYTES: Final = 8 * PIECE_BYTES
LOCAL_WINDOW_BYTES: Final = 2 * PIECE_BYTES
# The smallest part that S3 takes, but for the last one.
REMOTE_PART_BYTES: Final = 5 * 1024 * 1024
LOCAL_PART_BYTES: Final = 1024 * 1024
SCHEMES: Final = ("file", "s3", "s3a", "gs", "az", "adl", "abfs", "abfss", "azure")
# Whether it is http is said by the endpoint's URL; without one it never is.
CLIENT: "Final[ClientConfig]" = {
    "connect_timeout": "2s",
    "timeout": "30s",
    "allow_http": True,
}
RETRY: "Final[RetryConfig]" = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=5),
}
logger = get_logger(__name__)


class BodyStore:
    """Where large bodies are kept; made by `open_body_store`.

    `held_bytes` is what a body that is being written holds in memory at most.
    """

    def __init__(self, url: str, objects: Any, directory: Path | None) -> None:
        self.url = url
        self._objects = objects
        self._directory = directory
        self._part_bytes = LOCAL_PART_BYTES if directory else REMOTE_PART_BYTES
        self.held_bytes = 3 * self._part_bytes
        self._window_bytes = LOCAL_WINDOW_BYTES if directory else WINDOW_BYTES

    @asynccontextmanager
    async def writing(self, partition: int) -> AsyncIterator[Writing]:
        """Write an object; leaving the block without `finish` deletes what is there."""
        writing = Writing(self, f"{partition}/{uuid7()}")
        try:
            yield writing
        finally:
            await writing.abandon()

    async def read(
        self, stored: event_pb2.StoredBody, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes from `start` to `end`, in pieces of at most 256 KiB.

        Raises Unavailable where the store does not answer (safe to retry), and
        TerminalError where the object is not there, or not what was written: that is
        noticed where all of it is read.
        """
        end = stored.size if end is None else min(end, stored.size)
        digest = sha256() if (start, end) == (0, stored.size) else None
        for at in range(start, end, self._window_bytes):
            window = await self._window(stored, at, min(at + self._window_bytes, end))
            for offset in range(0, len(window), PIECE_BYTES):
                piece = bytes(window[offset : offset + PIECE_BYTES])
                if digest is not None:
                    digest.update(piece)
                yield piece
        if digest is not None and digest.digest() != stored.sha256:
            raise TerminalError(
                f"{_place(stored)} is not what was written: see its disk"
            )

    async def delete(self, name: str) -> None:
        """Delete an object. One that cannot be deleted now is told in a line, and left."""
        try:
            await obstore.delete_async(self._objects, name)
        except FileNotFoundError:
            pass
        except BaseError as error:
            # The trim of its partition deletes it.
            logger.warning("body.left", name=name, error=first_line(error))

    async def copy_for_event(
        self, partition: int, stored: event_pb2.StoredBody
    ) -> event_pb2.StoredBody:
        """A body of its own for another event, in that one's partition.

        Raises TerminalError where there is none to be copied, Unavailable where the store
        does not answer (safe to retry).
        """
        return await self._copy(stored, f"{partition}/{uuid7()}")

    async def copy_for_letter(
        self, partition: int, stored: event_pb2.StoredBody
    ) -> event_pb2.StoredBody:
        """The same for a dead letter: it is there for as long as its letter is."""
        return await self._copy(stored, f"letters-{partition}/{uuid7()}")

    async def _copy(
        self, stored: event_pb2.StoredBody, name: str
    ) -> event_pb2.StoredBody:
        try:
            await obstore.copy_async(self._objects, stored.name, name)
            await self.make_durable(name)
        except FileNotFoundError as error:
            raise TerminalError(f"{_place(stored)} is not there") from error
        except (BaseError, OSError) as error:
            raise Unavailable(_away(error)) from error
        return event_pb2.StoredBody(name=name, size=stored.size, sha256=stored.sha256)

    async def trim_events(self, partition: int, before_ms: int) -> int:
        """Delete a partition's bodies that began to be written before a time.

        Tells how many. A page at a time, off the loop. Raises Unavailable; what is left
        then goes the next time.
        """
        return await self._trim(f"{partition}", before_ms)

    async def trim_letters(self, partition: int, before_ms: int) -> int:
        """The same for the copies of its dead letters."""
        return await self._trim(f"letters-{partition}", before_ms)

    async def _trim(self, place: str, before_ms: int) -> int:
        if self._directory is not None:
            return await delete_local(self._directory / place, before_ms)
        return await delete_remote(self._objects, place, before_ms)

    async def _window(
        self, stored: event_pb2.StoredBody, start: int, end: int
    ) -> memoryview:
        try:
            got = await obstore.get_range_async(
                self._objects, stored.name, start=start, end=end
            )
        except FileNotFoundError as error:
            raise TerminalError(
                f"{_place(stored)} is not there: it was deleted, or HOOKLINE_BODIES__STORE "
                "names another store here than where routers run"
            ) from error
        except BaseError as error:
            await self._check_size(stored)
            raise Unavailable(_away(error)) from error
        if len(got) != end - start:
            await self._check_size(stored)
            raise Unavailable(AWAY)
        return memoryview(got)

    async def _check_size(self, stored: event_pb2.StoredBody) -> None:
        """Raise TerminalError where the object is there and has another size."""
        with suppress(BaseError, FileNotFoundError):
            found = await obstore.head_async(self._objects, stored.name)
            if found["size"] != stored.size:
                raise TerminalError(
                    f"{_place(stored)} has {found['size']} bytes instead of {stored.size}"
                )

    def put(
        self, name: str, content: bytes | AsyncIterator[bytes]
    ) -> Awaitable[object]:
        """Begin to write an object; an iterator that raises leaves nothing of it."""
        return obstore.put_async(
            self._objects,
            name,
            content,
            use_multipart=not isinstance(content, bytes),
            chunk_size=self._part_bytes,
            max_concurrency=1,
        )

    @property
    def part_bytes(self) -> int:
        """Objects up to this size are written in one go."""
        return self._part_bytes

    async def make_durable(self, name: str) -> None:
        """Return when an object that is written outlives a power cut."""
        if self._directory is not None:
            await asyncio.to_thread(_sync, self._directory, name)


def open_body_store(url: str) -> BodyStore:
    """Open the store at a URL: file:///DIR, s3://BUCKET/PREFIX, gs://… or az://….

    Keys and endpoints come from the environment, under the names that the clouds' own
    tools use (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …). Raises BadConfiguration.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise BadConfiguration(
            "HOOKLINE_BODIES__STORE is no place for bodies: write file:///DIRECTORY, "
            "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
        )
    if parts.scheme == "file":
        return _open_directory(url, Path(unquote(parts.path)))
    try:
        objects = from_url(
            url,
            client_options=CLIENT,
            retry_config=RETRY,
        )
    except (BaseError, ValueError) as error:
        raise BadConfiguration(
            f"HOOKLINE_BODIES__STORE cannot be used: {first_line(error)}"
        ) from error
    return BodyStore(url, objects, None)


def _open_directory(url: str, directory: Path) -> BodyStore:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _sync(directory.parent, directory.name)
        objects = LocalStore(directory)
    except (OSError, BaseError) as error:
        raise BadConfiguration(
            f"large bodies cannot be kept in {directory}: {first_line(error)}"
        ) from error
    return BodyStore(url, objects, directory)


def _sync(root: Path, name: str) -> None:
    """Have the disk keep an object, its directory, and that one's entry."""
    for path in (root / name, (root / name).parent, root):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _place(stored: event_pb2.StoredBody) -> str:
    return f"the body {stored.name} in the body store"


def _away(error: Exception) -> str:
    return f"the body store does not answer: {first_line(error)}"
