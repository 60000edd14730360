"""Runs of the embedded log that end in power cuts, and what they have lost."""

import asyncio
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hookline.errors import Unavailable
from hookline.log import Position, Topic
from hookline.log.sqlite import SqliteLog, open_log
from tests.faults.power import Platters, losing_disk

EVENTS = Topic("events", 2)
CUTS = 4
Kept = dict[Position, bytes]


async def append_some(log: SqliteLog, random: Random, kept: Kept) -> None:
    """Append records of many sizes, several at once; those that are durable are kept."""

    async def append(number: int) -> None:
        key = b"flow-%d" % random.randrange(8)
        value = b"%d:" % number + random.randbytes(random.choice((10, 400, 9_000)))
        try:
            position = await log.append(EVENTS, key, value)
        except Unavailable:
            return
        kept[position] = value

    for burst in range(random.randrange(3, 12)):
        async with asyncio.TaskGroup() as tasks:
            for number in range(random.randrange(1, 8)):
                tasks.create_task(append(100 * burst + number))


async def held(log: SqliteLog) -> Kept:
    """All records."""
    found: Kept = {}
    for partition in range(EVENTS.partitions):
        start, end = await log.bounds(EVENTS, partition)
        async for batch in log.read(EVENTS, partition, start, end):
            for record in batch:
                found[Position(partition, record.offset)] = record.value or b""
    return found


@dataclass(slots=True)
class Left:
    """What a crash or a cut has left: the records that had to stay, and the disk."""

    kept: Kept = field(default_factory=dict)
    platters: Platters = field(default_factory=dict)


async def until_cut(
    directory: Path, after: Path, random: Random, platters: Platters
) -> Left:
    """Work on a log, and end that in its midst: by a power cut, or a crash before one."""
    kept: Kept = {}
    left = Left()
    with losing_disk(f"power-{uuid.uuid4().hex}", platters) as disk:

        def cut() -> None:
            left.kept |= kept
            if random.random() < 0.5:
                left.platters = disk.write_crash(after)
            else:
                disk.write_cut(after, random)

        disk.on_cut = cut
        disk.calls_left = random.randrange(1, 30 if platters else 150)
        async with open_log(directory, [EVENTS], vfs=disk.name) as log:
            kept |= await held(log)
            while disk.calls_left > 0:
                await append_some(log, random, kept)
    return left


async def lost_by_cuts(place: Path, seed: int) -> int:
    """Crashes and cuts, each of what the one before has left; gives how much was lost.

    Raises BadConfiguration where one has left a file that does not open clean.
    """
    random = Random(seed)  # noqa: S311 - a seed, so that a failure can be run again
    lost = 0
    left = Left()
    for turn in range(CUTS):
        before, after = place / f"{turn}", place / f"{turn + 1}"
        left = await until_cut(before, after, random, left.platters)
        shutil.copytree(after, place / "found")
        async with open_log(place / "found", [EVENTS]) as log:
            lost += len(left.kept.items() - (await held(log)).items())
        shutil.rmtree(place / "found")
    return lost
