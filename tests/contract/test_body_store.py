"""What every body store promises, on a directory and on S3."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from hookline.body_store import BodyStore, open_body_store
from hookline.body_writing import Writing
from hookline.errors import BadConfiguration, TerminalError, Unavailable
from hookline.v1 import event_pb2
from tests.standins import Answer, Request, StandIn
from tests.stores import KEYS, Place

PIECE = bytes(range(256)) * 1000
SIZES = [1, 262_144, 1_048_577, 5_242_880, 5_242_881, 12_000_000]


class GivenUp(Exception):
    """Somebody does not want it any more."""


@pytest.fixture
async def store(place: Place) -> BodyStore:
    return open_body_store(place.url)


def body_of(size: int) -> bytes:
    return (PIECE * (size // len(PIECE) + 1))[:size]


async def write(writing: Writing, body: bytes) -> None:
    for start in range(0, len(body), len(PIECE)):
        await writing.write(body[start : start + len(PIECE)])


async def keep(store: BodyStore, body: bytes) -> event_pb2.StoredBody:
    async with store.writing(3) as writing:
        await write(writing, body)
        return await writing.finish()


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_is_read_as_it_was_written(
    store: BodyStore, place: Place, size: int
) -> None:
    """In pieces of at most 256 KiB; what it is called says its partition."""
    body = body_of(size)
    stored = await keep(store, body)
    pieces = [piece async for piece in store.read(stored)]

    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= 256 * 1024
    assert (stored.size, stored.sha256) == (size, sha256(body).digest())
    assert stored.name.startswith("3/")
    assert len(await place.left()) == 1


async def test_a_part_of_a_body_can_be_read(store: BodyStore) -> None:
    """From one byte to another, across the windows in which it is fetched."""
    body = body_of(5_000_000)
    stored = await keep(store, body)

    assert (
        await whole(store.read(stored, 2_000_001, 4_500_003))
        == body[2_000_001:4_500_003]
    )
    assert await whole(store.read(stored, 4_999_999)) == body[-1:]
    assert await whole(store.read(stored, 7, 7)) == b""


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_given_up_leaves_nothing(
    store: BodyStore, place: Place, size: int
) -> None:
    """No object, no part of a file, no unfinished upload."""
    with suppress(GivenUp):
        async with store.writing(3) as writing:
            await write(writing, body_of(size))
            raise GivenUp

    assert await place.left() == []


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_cancelled_while_it_is_completed_leaves_nothing(
    store: BodyStore, place: Place, size: int
) -> None:
    """Whoever has not heard that it is complete cannot refer to it."""
    async with asyncio.TaskGroup() as tasks:
        written = asyncio.Event()

        async def keep_it() -> None:
            async with store.writing(3) as writing:
                await write(writing, body_of(size))
                written.set()
                await writing.finish()

        keeping = tasks.create_task(keep_it())
        await written.wait()
        keeping.cancel()

    assert await place.left() == []


async def test_a_deleted_body_is_gone(store: BodyStore, place: Place) -> None:
    """Reading it is a failure for good, and deleting it again none."""
    stored = await keep(store, b"body")
    await store.delete(stored.name)
    await store.delete(stored.name)

    assert await place.left() == []
    with pytest.raises(TerminalError, match="is not there"):
        await whole(store.read(stored))


async def test_a_body_that_has_changed_is_not_taken_for_it(tmp_path: Path) -> None:
    """Neither one that was cut short, nor one of the same size."""
    store = open_body_store(tmp_path.as_uri())
    stored = await keep(store, b"body")
    path = tmp_path / stored.name

    path.write_bytes(b"bodi")
    with pytest.raises(TerminalError, match="not what was written"):
        await whole(store.read(stored))
    path.write_bytes(b"bod")
    with pytest.raises(TerminalError, match="3 bytes instead of 4"):
        await whole(store.read(stored))


class Failing(StandIn):
    """A bucket that writes what it gets, and fails to say so."""

    def answer(self, request: Request) -> Answer:
        if request.method == "PUT":
            self.accepted.append(request.path)
            return Answer(500)
        return Answer(200, b"<DeleteResult></DeleteResult>")


@pytest.mark.slow
async def test_what_may_have_been_written_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody knows its name, so nobody else would."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    async with Failing() as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        store = open_body_store("s3://bucket/bodies")
        with pytest.raises(Unavailable):
            await keep(store, b"body")

    [name] = {path.removeprefix("/bucket/") for path in bucket.accepted}
    deletion = bucket.requests[-1]
    assert (deletion.method, deletion.query) == ("POST", "delete")
    assert f"<Key>{name}</Key>".encode() in deletion.body


@pytest.mark.slow
async def test_a_store_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Writing and reading say that a repeat is safe."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    store = open_body_store("s3://nowhere/bodies")

    with pytest.raises(Unavailable):
        await keep(store, body_of(1))
    with pytest.raises(Unavailable):
        await keep(store, body_of(12_000_000))
    with pytest.raises(Unavailable):
        await whole(store.read(event_pb2.StoredBody(name="1/a", size=10)))


@pytest.mark.parametrize(
    "url", ["bodies", "/bodies", "ftp://host/bodies", "http://host/bodies", "s3://"]
)
def test_a_place_that_is_none_is_refused(url: str) -> None:
    """The sentence says what to write."""
    with pytest.raises(BadConfiguration, match="HOOKLINE_BODIES__STORE"):
        open_body_store(url)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """It is named."""
    (tmp_path / "file").touch()
    with pytest.raises(BadConfiguration, match="cannot be kept in"):
        open_body_store((tmp_path / "file" / "bodies").as_uri())


class Watched:
    """A store whose disk takes its time: nothing outlives a power cut before `synced`."""

    part_bytes = 1024

    def __init__(self, inner: BodyStore) -> None:
        self._inner = inner
        self.synced = asyncio.Event()
        self.written = asyncio.Event()

    def put(
        self, name: str, content: bytes | AsyncIterator[bytes]
    ) -> Awaitable[object]:
        return self._inner.put(name, content)

    async def make_durable(self, name: str) -> None:
        self.written.set()
        await self.synced.wait()
        await self._inner.make_durable(name)

    async def delete(self, name: str) -> None:
        await self._inner.delete(name)


@pytest.mark.parametrize("size", [10, 5_000])
async def test_a_body_is_finished_when_it_is_durable(
    store: BodyStore, size: int
) -> None:
    """Its event would outlive a power cut, and it has to as well."""
    watched = Watched(store)
    writing = Writing(watched, "3/one")
    await writing.write(body_of(size))
    finishing = asyncio.ensure_future(writing.finish())
    await watched.written.wait()
    before = finishing.done()
    watched.synced.set()
    stored = await finishing

    assert not before
    assert await whole(store.read(stored)) == body_of(size)
