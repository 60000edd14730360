"""Backups of the embedded log while it is written: whole, clean, nothing missing."""

import asyncio
import os
from pathlib import Path

import pytest

from hookline.errors import BadConfiguration, Error
from hookline.log import Topic
from hookline.log.sqlite import open_log
from hookline.log.sqlite_backup import back_up
from tests.faults.power_cuts import Kept, held
from tests.instance import JSON, Instance, running
from tests.processes import run, up
from tests.waiting import until

EVENTS = Topic("events", 2)
KEEP = """
id: keep
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =$count(body)}}]
"""
LARGE = b"[" + b"1," * 200_000 + b"1]"


@pytest.mark.slow
async def test_a_backup_has_all_that_was_durable_when_it_began(tmp_path: Path) -> None:
    """Ten of them, each while commits go on; each opens clean, without a gap."""
    durable: Kept = {}
    stopping = asyncio.Event()
    value = os.urandom(10_000)
    async with open_log(tmp_path / "data", [EVENTS]) as log:

        async def write(number: int) -> None:
            turn = 0
            while not stopping.is_set():
                key, turn = b"flow-%d-%d" % (number, turn % 7), turn + 1
                written = b"%d:%d:" % (number, turn) + value[: (turn * 997) % 10_000]
                durable[await log.append(EVENTS, key, written)] = written

        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(write(number))
            # More than is copied at once: commits come in the midst of each copy.
            await until(lambda: len(durable) > 2_000)
            wanted = []
            for turn in range(10):
                wanted.append(dict(durable))
                await asyncio.to_thread(
                    back_up, tmp_path / "data", tmp_path / f"{turn}"
                )
            stopping.set()

    assert len(durable) > len(wanted[-1])
    for turn, before in enumerate(wanted):
        async with open_log(tmp_path / f"{turn}", [EVENTS]) as copy:
            found = await held(copy)
            ends = [(await copy.bounds(EVENTS, one)).end for one in range(2)]
        assert before.items() <= found.items() <= durable.items()
        assert sum(ends) == len(found)


async def sent(hookline: Instance, body: bytes) -> str:
    answer = await hookline.send("keep", body, [JSON])
    assert answer.status == 200
    return answer.headers["x-event-id"]


@pytest.mark.slow
async def test_hookline_runs_on_what_the_command_has_made(tmp_path: Path) -> None:
    """With bodies that are not in the log; what had not run runs there, once."""
    data, copy = tmp_path / "data", tmp_path / "copy" / "data"
    async with running(tmp_path, KEEP, executor=False) as hookline:
        ids = [await sent(hookline, body) for body in (b"[1]", LARGE)]
        code, out, err = await run("log", "backup", str(copy), "--data", str(data))
        await sent(hookline, b"[2]")

    assert (code, out) == (0, f"{copy}\n"), err
    assert "--data" in err
    assert copy.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in copy.parent.iterdir()] == ["data"]
    async with running(tmp_path / "copy") as hookline:
        ends = [await hookline.ends.wait(one) for one in ids]
        assert [end.result for end in ends] == [b"1", b"200001"]
        assert len(hookline.ends.by_event) == 2


async def test_a_backup_leaves_a_running_instance_as_it_is(tmp_path: Path) -> None:
    """The WAL stays its own process's; it takes requests, and stops well."""
    data = tmp_path / "data"
    async with up(data, "--flows", str(tmp_path)) as hookline:
        code, _, err = await run(
            *("log", "backup", str(tmp_path / "copy")),
            environment={"HOOKLINE_DATA": str(data)},
        )
        assert code == 0, err
        assert (data / "log.sqlite-wal").exists()
        assert await hookline.stop() == 0


@pytest.mark.parametrize(
    ("place", "sentence"), [("there", "is there already"), ("nowhere", "no log in")]
)
async def test_what_cannot_be_backed_up_is_said(
    tmp_path: Path, place: str, sentence: str
) -> None:
    """In a sentence, and nothing is left behind."""
    data = tmp_path / ("data" if place == "there" else place)
    async with open_log(tmp_path / "data", [EVENTS]):
        (tmp_path / "there").mkdir()
        code, _, err = await run(
            *("log", "backup", str(tmp_path / place), "--data", str(data))
        )

    assert code == 78
    assert sentence in err
    assert "Traceback" not in err
    assert set(os.listdir(tmp_path)) == {"data", "there"}  # noqa: PTH208 - as in a loop


async def test_a_backup_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """And that the log itself is as it was."""
    async with open_log(tmp_path / "data", [EVENTS]) as log:
        await log.append(EVENTS, b"k", b"1")
        with pytest.raises(Error, match="is removed"):
            await asyncio.to_thread(back_up, tmp_path / "data", Path("/dev/full/copy"))
        with pytest.raises(BadConfiguration, match="there already"):
            await asyncio.to_thread(back_up, tmp_path / "data", Path("/dev/full"))


async def test_a_damaged_file_is_not_copied(tmp_path: Path) -> None:
    """A copy of it would be found out when it is needed."""
    async with open_log(tmp_path / "data", [EVENTS]) as log:
        for number in range(300):
            await log.append(EVENTS, b"k", b"%d" % number * 200)
    spoilt = bytearray((tmp_path / "data" / "log.sqlite").read_bytes())
    for page in range(8, len(spoilt) // 4096):
        spoilt[page * 4096 : page * 4096 + 64] = b"\x55" * 64
    (tmp_path / "data" / "log.sqlite").write_bytes(spoilt)

    with pytest.raises(Error, match="damaged"):
        await asyncio.to_thread(back_up, tmp_path / "data", tmp_path / "copy")

    assert not (tmp_path / "copy").exists()
