"""A disk that is full or failing: 503 in time, no 2xx, and on again by itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw  # noqa: TID251 - to damage the file behind the log's back
import pytest

from hookline.errors import BadConfiguration, Error, NotAppended, Unavailable
from hookline.log import Topic
from hookline.log.sqlite import SqliteLog, open_log
from hookline.log.sqlite_store import CorruptRecord
from tests.disks import FaultyDisk, faulty_disk
from tests.instance import JSON, Instance, running
from tests.processes import HOOKLINE

EVENTS = Topic("events")
FAULTS = ["full", "broken_writes", "broken_syncs"]
KEEP = """
id: keep
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[FaultyDisk]:
    with faulty_disk(f"faulty-{request.node.name}") as disk:
        yield disk


async def stored(log: SqliteLog) -> list[bytes | None]:
    end = (await log.bounds(EVENTS, 0)).end
    return [r.value async for batch in log.read(EVENTS, 0, 0, end) for r in batch]


async def append_until_accepted(log: SqliteLog, value: bytes) -> None:
    """Try again as a sender does."""
    async with asyncio.timeout(10):
        while True:
            try:
                await log.append(EVENTS, b"k", value)
            except Unavailable:
                continue
            return


@pytest.mark.parametrize("fault", FAULTS)
async def test_appends_fail_while_the_disk_does_and_work_again_after(
    tmp_path: Path, disk: FaultyDisk, fault: str
) -> None:
    """On the same log, without a restart; what was acknowledged is there."""
    async with open_log(tmp_path, [EVENTS], vfs=disk.name) as log:
        await log.append(EVENTS, b"k", b"before")
        setattr(disk, fault, True)
        refused = await asyncio.gather(
            *(log.append(EVENTS, b"k", b"meanwhile") for _ in range(50)),
            return_exceptions=True,
        )
        readable = await stored(log)
        disk.heal()
        await append_until_accepted(log, b"after")
        disk_failed = disk.failures > 0

    assert disk_failed
    assert {type(one) for one in refused} == {Unavailable}
    assert readable[0] == b"before"
    async with open_log(tmp_path, [EVENTS]) as log:
        found = await stored(log)
    assert found[0] == b"before"
    assert found[-1] == b"after"


@pytest.mark.parametrize("fault", FAULTS)
async def test_webhooks_get_503_meanwhile_and_all_2xx_events_are_there(
    tmp_path: Path, disk: FaultyDisk, fault: str
) -> None:
    """Through the whole line: no 2xx while nothing can be written, then on again."""
    accepted: list[str] = []

    async def send(hookline: Instance) -> int:
        answer = await hookline.send("keep", b"1", [JSON])
        if answer.status == 200:
            accepted.append(answer.headers["x-event-id"])
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"]
        return answer.status

    async with running(tmp_path, KEEP, vfs=disk.name) as hookline:
        assert await send(hookline) == 200
        setattr(disk, fault, True)
        meanwhile = [await send(hookline) for _ in range(5)]
        disk.heal()
        async with asyncio.timeout(10):
            while await send(hookline) != 200:
                pass
        for event_id in accepted:
            await hookline.ends.wait(event_id)

    assert set(meanwhile) == {503}
    assert len(accepted) == 2


async def test_a_disk_that_hangs_is_503_in_the_deadline(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    """The deadline is the log's: nobody waits for a disk that does not answer."""
    answer_at_last = disk.hang()
    async with open_log(
        tmp_path, [EVENTS], vfs=disk.name, append_deadline_s=0.1
    ) as log:
        disk.hanging = True
        with pytest.raises(Unavailable, match="in time"):
            await log.append(EVENTS, b"k", b"1")
        answer_at_last()
        await append_until_accepted(log, b"2")


async def test_too_much_waiting_is_refused_at_once(tmp_path: Path) -> None:
    """The bound is in bytes, and it is free again when they are written."""
    async with open_log(tmp_path, [EVENTS], most_pending_bytes=1_000) as log:
        appends = [log.append(EVENTS, b"k", b"x" * 600) for _ in range(5)]
        refused_at_once = [append.done() for append in appends]
        results = await asyncio.gather(*appends, return_exceptions=True)
        await append_until_accepted(log, b"after")

    assert refused_at_once == [False, False, True, True, True]
    assert [isinstance(one, NotAppended) for one in results] == refused_at_once


async def test_a_second_process_on_the_directory_is_refused(tmp_path: Path) -> None:
    """With a sentence that names the directory, and exit code 78."""
    async with open_log(tmp_path, [EVENTS]):
        process = await asyncio.create_subprocess_exec(
            *(HOOKLINE, "up", "--data", str(tmp_path)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
        with pytest.raises(BadConfiguration, match="is running on"):
            async with open_log(tmp_path, [EVENTS]):
                pass

    assert process.returncode == 78
    assert str(tmp_path) in err.decode()
    assert "Traceback" not in err.decode()


async def test_a_damaged_record_is_noticed(tmp_path: Path) -> None:
    """Never passed on as if it were what was sent."""
    async with open_log(tmp_path, [EVENTS]) as log:
        await log.append(EVENTS, b"k", b"what was sent")
    connection = apsw.Connection(str(tmp_path / "log.sqlite"))
    connection.execute("UPDATE events_0 SET value = ?", (b"what was not",))
    connection.close()

    async with open_log(tmp_path, [EVENTS]) as log:
        with pytest.raises(CorruptRecord, match="offset 0 of events/0"):
            await stored(log)


async def test_a_file_that_is_no_log_is_said_to_be_none(tmp_path: Path) -> None:
    """A sentence, not a traceback."""
    (tmp_path / "log.sqlite").write_bytes(b"not a database at all" * 100)

    with pytest.raises(BadConfiguration, match="cannot be opened"):
        async with open_log(tmp_path, [EVENTS]):
            pass


async def test_another_number_of_partitions_is_refused(tmp_path: Path) -> None:
    """Order hangs on it."""
    async with open_log(tmp_path, [EVENTS]):
        pass

    with pytest.raises(BadConfiguration, match="HOOKLINE_LOG__PARTITIONS=1"):
        async with open_log(tmp_path, [Topic("events", 2)]):
            pass


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "data", [EVENTS]) as log:
        yield log


async def test_only_the_owner_may_read_the_files(
    tmp_path: Path, opened: SqliteLog
) -> None:
    """The directory is 0700, the file 0600."""
    await opened.append(EVENTS, b"k", b"1")

    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "log.sqlite").stat().st_mode & 0o777 == 0o600


async def test_a_writer_that_ends_by_a_fault_ends_the_log(tmp_path: Path) -> None:
    """Nobody is left to wait for deadline after deadline."""
    with pytest.raises(ExceptionGroup) as ended:
        async with open_log(tmp_path, [EVENTS], append_deadline_s=60) as log:
            await log.append(EVENTS, b"k", "no bytes")  # type: ignore[arg-type] # the fault

    assert ended.group_contains(Error, match="writer has ended")
