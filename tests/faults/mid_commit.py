"""kill -9 in the midst of commits of the embedded log, again and again; says what was lost.

`python -m tests.faults.mid_commit DIRECTORY SEED ROUNDS`: each round is a child of this
process, which ends itself before a write or a sync that the seed chooses. What it was
told to be durable it has told its parent before; the parent then looks for it.
"""

import asyncio
import json
import os
import signal
import sys
import uuid
from pathlib import Path
from random import Random

from hookline.log import Position
from hookline.log.sqlite import open_log
from tests.faults.power import losing_disk
from tests.faults.power_cuts import EVENTS, Kept, append_some, held

MOST_CALLS = 60


class Told(Kept):
    """What is durable, told to the parent at once; a pipe keeps it when we end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def __setitem__(self, position: Position, value: bytes) -> None:
        line = json.dumps([*position, value.hex()]) + "\n"
        os.write(self._descriptor, line.encode())


async def append_until_killed(directory: Path, seed: str, descriptor: int) -> None:
    """Append; the end comes before one of the next writes and syncs."""
    random = Random(seed)  # noqa: S311 - a seed, so that a failure can be run again
    with losing_disk(f"killed-{uuid.uuid4().hex}", {}) as disk:
        disk.on_cut = lambda: os.kill(os.getpid(), signal.SIGKILL)
        disk.calls_left = random.randrange(1, MOST_CALLS)
        async with open_log(directory, [EVENTS], vfs=disk.name) as log:
            while True:
                await append_some(log, random, Told(descriptor))


def killed(directory: Path, seed: str) -> Kept:
    """A round; gives what the child was told to be durable."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        asyncio.run(append_until_killed(directory, seed, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    rows = [json.loads(line) for line in lines]
    return {
        Position(partition, offset): bytes.fromhex(value)
        for partition, offset, value in rows
    }


async def found_in(directory: Path) -> Kept:
    """Open the file as the next start does, and read all of it."""
    async with open_log(directory, [EVENTS]) as log:
        return await held(log)


def main() -> None:
    """Rounds on one directory; prints a line of JSON."""
    directory, seed, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    durable: Kept = {}
    lost, in_midst = 0, 0
    for turn in range(rounds):
        durable |= killed(directory, f"{seed}/{turn}")
        found = asyncio.run(found_in(directory))
        lost += len(durable.items() - found.items())
        in_midst += len(found) > len(durable)
        durable = found
    print(  # noqa: T201 - what was asked for
        json.dumps({"lost": lost, "in_midst": in_midst, "records": len(durable)})
    )


if __name__ == "__main__":
    main()
