"""A member of a group in a process of its own, for a test that freezes it.

Prints a line for each change: whether it owns its partitions beyond doubt.
"""

import asyncio
import sys

from hookline.log import Assignment, Topic
from hookline.log.kafka import Cluster, Durability, open_log
from hookline.telemetry import configure


async def watch(assignment: Assignment) -> None:
    """Say whenever `owned` changes, looking at each turn of the loop."""
    owned = False
    ended = asyncio.ensure_future(assignment.wait_ended())
    while not ended.done():
        if assignment.owned() is not owned:
            owned = not owned
            print("owned" if owned else "in doubt", flush=True)  # noqa: T201
        await asyncio.sleep(0.001)
    print("ended", flush=True)  # noqa: T201
    assignment.release()


async def main(server: str, prefix: str) -> None:
    """Join, and tell until killed."""
    topic = Topic("events", 1)
    async with (
        open_log(
            Cluster((server,), prefix),
            [topic],
            durability=Durability(1, 1),
            session_timeout_s=2.0,
        ) as log,
        asyncio.TaskGroup() as tasks,
    ):
        async for assignment in log.assignments(topic, "g"):
            tasks.create_task(watch(assignment))


configure()  # its lines go to stderr
asyncio.run(main(*sys.argv[1:]))
