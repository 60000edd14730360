"""A member that was frozen for longer than its session, and wakes up."""

import asyncio
import signal
import sys
import uuid
from pathlib import Path

import pytest

from hookline.log import Topic
from hookline.log.kafka import Cluster, Durability, create_topics, open_log

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
EVENTS = Topic("events", 1)
ONE = Durability(1, 1)
MEMBER = Path(__file__).parent / "frozen_member.py"


async def test_a_woken_member_owns_nothing_before_the_group_has_answered(
    kafka_servers: tuple[str, ...],
) -> None:
    """It is in doubt from its first turn on, until it hears that others have it."""
    cluster = Cluster(kafka_servers, prefix=f"{uuid.uuid4().hex}.")
    await create_topics(cluster, [EVENTS], ONE, groups={"g": EVENTS})
    member = await asyncio.create_subprocess_exec(
        *(sys.executable, str(MEMBER), kafka_servers[0], cluster.prefix),
        stdout=asyncio.subprocess.PIPE,
    )
    assert member.stdout is not None
    try:
        before = await member.stdout.readline()
        member.send_signal(signal.SIGSTOP)
        async with open_log(cluster, [EVENTS], durability=ONE) as log:
            # Given to us: so the group has given it up.
            assignment = await anext(log.assignments(EVENTS, "g"))
            member.send_signal(signal.SIGCONT)
            after = [await member.stdout.readline()]
            while after[-1] != b"ended\n":
                after.append(await member.stdout.readline())
            assignment.release()
    finally:
        member.kill()
        await member.wait()

    assert before == b"owned\n"
    assert after == [b"in doubt\n", b"ended\n"]
