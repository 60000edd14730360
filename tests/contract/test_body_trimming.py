"""What every body store forgets, and what it keeps, on a directory and on S3."""

import os
import time
from pathlib import Path
from uuid import UUID

import pytest

from hookline.body_store import BodyStore, open_body_store
from hookline.body_trimming import PAGE, UNTOUCHED_S
from hookline.body_writing import LONGEST_S, Writing
from hookline.errors import TerminalError, Unavailable
from hookline.v1 import event_pb2
from tests.clocks import Clock
from tests.stores import Place, bodies_in

NOON = 1_700_000_000_000


@pytest.fixture
async def store(place: Place) -> BodyStore:
    return open_body_store(place.url)


def name_of(at_ms: int, number: int = 0) -> str:
    """A UUID of version 7 of a time."""
    return str(UUID(int=(at_ms << 80) | (7 << 76) | (2 << 62) | number))


async def put(store: BodyStore, place: str, at_ms: int, number: int = 0) -> str:
    name = f"{place}/{name_of(at_ms, number)}"
    await store.put(name, b"body")
    return name


async def left(place: Place) -> list[str]:
    """The names of what is there, without their directories."""
    return sorted(name.rpartition("/")[2] for name in await place.left())


async def keep(store: BodyStore, body: bytes) -> event_pb2.StoredBody:
    async with store.writing(3) as writing:
        await writing.write(body)
        return await writing.finish()


async def read(store: BodyStore, stored: event_pb2.StoredBody) -> bytes:
    return b"".join([piece async for piece in store.read(stored)])


async def test_what_is_older_goes_and_what_is_not_stays(
    store: BodyStore, place: Place
) -> None:
    """Of this partition alone, though another's number begins alike."""
    for at_ms in (NOON - 2, NOON - 1, NOON, NOON + 1):
        await put(store, "1", at_ms)
    await put(store, "11", NOON - 7)
    await put(store, "letters-1", NOON - 8)

    assert await store.trim_events(1, NOON) == 2
    assert await store.trim_events(1, NOON) == 0

    kept = [NOON - 8, NOON - 7, NOON, NOON + 1]
    assert await left(place) == [name_of(at_ms) for at_ms in kept]


async def test_copies_for_dead_letters_have_a_time_of_their_own(
    store: BodyStore, place: Place
) -> None:
    """What goes with events is not theirs."""
    await put(store, "1", NOON - 1)
    for at_ms in (NOON - 3, NOON - 2):
        await put(store, "letters-1", at_ms)

    assert await store.trim_letters(1, NOON - 2) == 1

    assert await left(place) == [name_of(NOON - 2), name_of(NOON - 1)]


async def test_what_has_no_such_name_is_left(store: BodyStore, place: Place) -> None:
    """Somebody else's, who knows why it is there."""
    await store.put("1/readme", b"")
    await store.put("1/019a2b3c-4d5e-4f80-9123-456789abcdef", b"")

    assert await store.trim_events(1, 2**47) == 0

    assert len(await left(place)) == 2


async def test_where_there_is_nothing_there_is_nothing_to_do(store: BodyStore) -> None:
    """As in a partition that has had no large body."""
    assert await store.trim_events(9, NOON) == 0


@pytest.mark.slow
async def test_more_than_a_page_goes_at_once(store: BodyStore, place: Place) -> None:
    """And the youngest stays."""
    for number in range(PAGE + 50):
        await put(store, "1", NOON - 1, number)
    last = await put(store, "1", NOON)

    assert await store.trim_events(1, NOON) == PAGE + 50
    assert await left(place) == [last.rpartition("/")[2]]


async def test_a_copy_outlives_what_it_was_made_of(store: BodyStore) -> None:
    """A dead letter's, and that of an event which repeats another one."""
    stored = await keep(store, b"body" * 100_000)
    letter = await store.copy_for_letter(3, stored)
    event = await store.copy_for_event(4, stored)
    await store.delete(stored.name)

    for copy in (letter, event):
        assert await read(store, copy) == b"body" * 100_000
    assert letter.name.startswith("letters-3/")
    assert event.name.startswith("4/")


async def test_of_what_is_not_there_no_copy_is_made(
    store: BodyStore, place: Place
) -> None:
    """That it is gone for good is told."""
    gone = event_pb2.StoredBody(name=f"3/{name_of(NOON)}", size=4)

    with pytest.raises(TerminalError, match="is not there"):
        await store.copy_for_letter(3, gone)
    assert await left(place) == []


async def test_of_unfinished_files_only_those_of_a_crash_go(tmp_path: Path) -> None:
    """A file that is written to is an upload, however long ago it began."""
    directory = bodies_in(tmp_path)
    store = open_body_store(directory.as_uri())
    (directory / "1").mkdir()
    crashed, written = (directory / "1" / f"{name_of(NOON)}#{n}" for n in (1, 2))
    for path in (crashed, written):
        path.write_bytes(b"half")
    long_ago = time.time() - UNTOUCHED_S - 1
    os.utime(crashed, (long_ago, long_ago))

    assert await store.trim_events(1, NOON + 1) == 1
    assert [path.name for path in (directory / "1").iterdir()] == [written.name]


async def test_a_store_that_is_away_is_told(tmp_path: Path) -> None:
    """The trim goes on when it is back."""
    directory = bodies_in(tmp_path)
    store = open_body_store(directory.as_uri())
    name = await put(store, "1", NOON - 1)
    path = directory / name
    path.unlink()
    path.mkdir()  # what cannot be deleted as a file

    with pytest.raises(Unavailable, match="cannot be used"):
        await store.trim_events(1, NOON)


async def test_a_body_that_takes_too_long_is_refused_and_leaves_nothing(
    store: BodyStore, place: Place
) -> None:
    """Its name would be that of something left over before its event is."""
    clock = Clock()
    writing = Writing(store, f"1/{name_of(NOON)}", clock)
    await writing.write(b"x" * 6_000_000)
    clock.seconds += LONGEST_S + 1

    with pytest.raises(Unavailable, match="too long"):
        await writing.finish()
    await writing.abandon()

    assert await place.left() == []
