"""What is asked of single events: it is in its event's partition, or it is refused."""

from pathlib import Path

import pytest

from hookline.controls import ask
from hookline.errors import Malformed, Rejected, TooLarge
from hookline.log import partition_of
from hookline.log.sqlite import open_log
from hookline.topics import Topics
from hookline.v1 import control_pb2
from tests.builders import EVENT_ID

TOPICS = Topics.with_partitions(8)
PARTITION = partition_of(b"flow", 8)


def skip(**more: object) -> control_pb2.Control:
    """A control that is complete."""
    control = control_pb2.Control(
        event_id=EVENT_ID, flow_id="flow", partition=PARTITION, event_offset=3
    )
    control.skip.SetInParent()
    for name, value in more.items():
        setattr(control, name, value)
    return control


async def test_a_control_is_in_the_partition_of_its_event(tmp_path: Path) -> None:
    """Asked again it is the same one: whoever reads both can tell."""
    control = skip(by="Ada")
    async with open_log(tmp_path, TOPICS.all) as log:
        first = await ask(log, TOPICS, control)
        second = await ask(log, TOPICS, control)
        kept = [
            control_pb2.Control.FromString(record.value or b"")
            async for batch in log.read(TOPICS.controls, PARTITION, 0, 10)
            for record in batch
        ]

    assert (first.partition, second.partition) == (PARTITION, PARTITION)
    assert kept == [control, control]
    assert control.id
    assert control.asked_at_us


def no_kind() -> control_pb2.Control:
    control = skip()
    control.ClearField("skip")
    return control


def large() -> control_pb2.Control:
    control = skip()
    control.edit_and_retry.body = b"x" * 300_000
    return control


@pytest.mark.parametrize(
    ("control", "error"),
    [
        (skip(event_id=""), Malformed),
        (skip(flow_id="no flow"), Malformed),
        (skip(partition=PARTITION + 1), Malformed),
        (no_kind(), Malformed),
        (large(), TooLarge),
    ],
)
async def test_what_cannot_be_carried_out_is_refused(
    tmp_path: Path, control: control_pb2.Control, error: type[Rejected]
) -> None:
    """With a sentence that says what is missing; nothing is in the log."""
    async with open_log(tmp_path, TOPICS.all) as log:
        with pytest.raises(error):
            await ask(log, TOPICS, control)
        bounds = [await log.bounds(TOPICS.controls, number) for number in range(8)]

    assert {one.end for one in bounds} == {0}
