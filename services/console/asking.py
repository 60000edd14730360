"""Asks the owner of an event's partition to do what a person has decided.

What is asked is in the log first, so that it is carried out whatever ends meanwhile; then
the journal is read for what has come of it.
"""

import asyncio
from typing import Final

from hookline.controls import ask
from hookline.errors import Error
from hookline.log.search import records
from hookline.v1 import control_pb2, execution_pb2
from services.console.history import History, Unknown
from services.console.index_queries import Indexed

WAIT_S: Final = 5.0
LOOK_S: Final = 0.05
FAILED: Final = execution_pb2.STATUS_FAILED


class Settled(Error):
    """Nothing comes of what is asked; the text says why, and what to do instead."""


class Asking:
    """Puts controls into the log, and tells what has come of them."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def ask(
        self, event_id: str, control: control_pb2.Control
    ) -> execution_pb2.Asked:
        """Ask; returns when it is carried out, or in the log and not carried out yet.

        Raises Unknown, Settled, Unavailable (it may be carried out all the same), and what
        is wrong with the control itself.
        """
        row = await self._history.row(event_id)
        if row is None:
            raise Unknown(await self._history.why_missing(event_id))
        if row.end_offset is not None:
            raise Settled(_has_ended(row))
        control.event_id, control.flow_id = event_id, row.flow_id
        control.partition, control.event_offset = row.position
        log, topics = self._history.log, self._history.topics
        begun = (await log.bounds(topics.executions, control.partition)).end
        await ask(log, topics, control)
        taken = await self._taken(control, begun)
        if taken is not None and taken.no_effect:
            raise Settled(f"Nothing was done with event {event_id}: {taken.no_effect}.")
        return execution_pb2.Asked(control_id=control.id, carried_out=taken is not None)

    async def _taken(
        self, control: control_pb2.Control, start: int
    ) -> execution_pb2.ControlTaken | None:
        """What the journal says of a control; None where it says nothing in time."""
        log, topic = self._history.log, self._history.topics.executions
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    end = (await log.bounds(topic, control.partition)).end
                    async for one in records(log, topic, control.partition, start, end):
                        value = one.value or b""
                        entry = execution_pb2.JournalEntry.FromString(value)
                        if entry.control.control_id == control.id:
                            return entry.control
                    start = end
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            return None


def _has_ended(row: Indexed) -> str:
    status = execution_pb2.Status.Name(execution_pb2.Status.ValueType(row.status))
    how = status.removeprefix("STATUS_").lower()
    if row.status == FAILED:
        return (
            f"The event {row.event_id} has failed and is in the dead letters: run it again "
            f"with `hookline dead-letters replay {row.event_id}`."
        )
    return (
        f"The event {row.event_id} has ended ({how}): run it again with `hookline events "
        f"replay {row.event_id}`."
    )
