"""Stop 3, bodies too large for the log: each an object in a directory or a bucket.

An event never refers to an object that is not there as a whole: `finish` returns when the
object is complete and durable, and only then is its name known to anybody. What is left
without `finish` leaves nothing, neither a part of a file nor an unfinished multipart
upload. Objects are named `<partition>/<uuid7>`, so that what is older than the first
record of a partition can be told by its name.
"""

import asyncio
import os
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url
from uuid_utils import uuid7

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
AWAY = "Large bodies cannot be kept at present: send the request again later."
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
    async def writing(self, partition: int) -> AsyncIterator["Writing"]:
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
            logger.warning("body.left", name=name, error=_first_line(error))

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


class Writing:
    """An object on its way into the store. Its methods raise Unavailable."""

    def __init__(self, store: BodyStore, name: str) -> None:
        self.name = name
        self._store = store
        self._first: list[bytes] = []
        self._size = 0
        self._digest = sha256()
        self._pieces = _Pieces()
        self._put: Future[object] | None = None
        self._finished = False

    async def write(self, piece: bytes) -> None:
        """Take a piece; returns when there is room for another."""
        self._digest.update(piece)
        self._size += len(piece)
        if self._put is not None:
            await self._hand_over(piece)
            return
        self._first.append(piece)
        if self._size > self._store.part_bytes:
            self._begin(self._pieces)
            while self._first:
                await self._hand_over(self._first.pop(0))

    async def finish(self) -> event_pb2.StoredBody:
        """Return when the object is complete and durable."""
        with _unavailable():
            if self._put is None:
                put = self._begin(b"".join(self._first))
            else:
                put = self._put
                await self._pieces.put(None)
            # Given up halfway, a multipart upload would stay: it ends in `abandon`.
            await asyncio.shield(put)
            await self._store.make_durable(self.name)
        self._finished = True
        return event_pb2.StoredBody(
            name=self.name, size=self._size, sha256=self._digest.digest()
        )

    async def abandon(self) -> None:
        """Leave nothing, unless it is finished."""
        if self._finished or self._put is None:
            return
        self._pieces.abort()
        with suppress(_Abandoned, BaseError, OSError):
            await asyncio.shield(self._put)
        # Also where that has failed: what timed out may be there all the same.
        await self._store.delete(self.name)

    def _begin(self, content: bytes | AsyncIterator[bytes]) -> Future[object]:
        # obstore's awaitables are futures: the work has begun.
        self._put = cast("Future[object]", self._store.put(self.name, content))
        self._put.add_done_callback(self._pieces.close)
        return self._put

    async def _hand_over(self, piece: bytes) -> None:
        with _unavailable():
            await self._pieces.put(piece)
            if self._put is not None and self._put.done():
                self._put.result()


class _Abandoned(Exception):
    """Ends an upload that is not wanted any more, with nothing left of it."""


class _Pieces:
    """What obstore iterates over: one piece at a time, so that it sets the pace."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._aborted = False

    async def put(self, piece: bytes | None) -> None:
        """Offer a piece, or the end, once the one before is taken, or nobody takes any."""
        await self._room.wait()
        self._room.clear()
        self._waiting.put_nowait(piece)

    def close(self, _ended: object) -> None:
        """Take no more: the put has ended."""
        self._room.set()

    def abort(self) -> None:
        """Raise from the iterator instead of ending it."""
        self._aborted = True
        self._waiting.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._waiting.get()
        self._room.set()
        if self._aborted:
            raise _Abandoned
        if piece is None:
            raise StopAsyncIteration
        return piece


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
            f"HOOKLINE_BODIES__STORE cannot be used: {_first_line(error)}"
        ) from error
    return BodyStore(url, objects, None)


def _open_directory(url: str, directory: Path) -> BodyStore:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _sync(directory.parent, directory.name)
        objects = LocalStore(directory)
    except (OSError, BaseError) as error:
        raise BadConfiguration(
            f"large bodies cannot be kept in {directory}: {_first_line(error)}"
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


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        logger.warning("body.unwritten", error=_first_line(error))
        raise Unavailable(AWAY) from error


def _place(stored: event_pb2.StoredBody) -> str:
    return f"the body {stored.name} in the body store"


def _away(error: Exception) -> str:
    return f"the body store does not answer: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
