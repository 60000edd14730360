"""Decides about flows: suspend, resume, stop, start, delete.

A decision is a record that replaces the one before it; where another router has replaced
that one at the same time, this one looks again at what the flow is now.
"""

import asyncio
import time
from enum import Enum
from typing import Final, NamedTuple

from hookline.catalog import Catalog
from hookline.flow_records import (
    ACTIVE,
    DELETED,
    STOPPED,
    SUSPENDED,
    State,
    decision_key,
)
from hookline.log import Log
from hookline.telemetry import get_logger
from hookline.topics import Topics
from hookline.v1 import flow_pb2
from services.router.stale_records import take_out_stale

logger = get_logger(__name__)


class Verb(Enum):
    """What can be decided about a flow."""

    SUSPEND = "suspend"
    RESUME = "resume"
    STOP = "stop"
    START = "start"
    DELETE = "delete"
    DISCARD = "delete with discard"


class Decided(NamedTuple):
    """A flow is as it was asked for; `changed` unless it was so already."""

    changed: bool


class Refused(NamedTuple):
    """A flow is something from which what was asked for does not lead on."""

    state: State
    text: str


LEADS_TO: Final[dict[Verb, State]] = {
    Verb.SUSPEND: SUSPENDED,
    Verb.RESUME: ACTIVE,
    Verb.STOP: STOPPED,
    Verb.START: ACTIVE,
    Verb.DELETE: DELETED,
    Verb.DISCARD: DELETED,
}
STOPPED_TEXT: Final = (
    "The flow {0!r} is stopped: it takes no requests. To have it take them again: "
    "hookline flows start {0}"
)
SUSPENDED_TEXT: Final = (
    "The flow {0!r} is suspended, not stopped. To have it go on: "
    "hookline flows resume {0}"
)
DELETED_TEXT: Final = (
    "There is no flow {0!r} any more: it was deleted. To have it back: "
    "hookline flows rollback {0}"
)
NOT_FROM: Final[dict[tuple[Verb, State], str]] = {
    (Verb.SUSPEND, STOPPED): STOPPED_TEXT,
    (Verb.RESUME, STOPPED): STOPPED_TEXT,
    (Verb.START, SUSPENDED): SUSPENDED_TEXT,
    (Verb.SUSPEND, DELETED): DELETED_TEXT,
    (Verb.RESUME, DELETED): DELETED_TEXT,
    (Verb.STOP, DELETED): DELETED_TEXT,
    (Verb.START, DELETED): DELETED_TEXT,
}


class Decider:
    """Writes decisions, and waits until this process keeps to them."""

    def __init__(self, catalog: Catalog, log: Log, topics: Topics) -> None:
        self._catalog = catalog
        self._records = catalog.records
        self._log = log
        self._topic = topics.flows
        self._one_at_a_time = asyncio.Lock()

    async def decide(self, flow_id: str, verb: Verb) -> Decided | Refused | None:
        """Make a flow what a verb says; None where there never was such a flow.

        Raises Unavailable; deciding again is safe.
        """
        async with self._one_at_a_time:
            await self._catalog.catch_up()
            while True:
                state = self._records.state(flow_id)
                if state is None:
                    return None
                if text := NOT_FROM.get((verb, state)):
                    return Refused(state, text.format(flow_id))
                if self._is_so(flow_id, state, verb):
                    return Decided(changed=False)
                if await self._write(flow_id, verb):
                    return Decided(changed=True)

    def _is_so(self, flow_id: str, state: State, verb: Verb) -> bool:
        if verb is Verb.DISCARD:
            decision = self._records.decision(flow_id)
            return state == DELETED and decision.discards == decision.number
        return state == LEADS_TO[verb]

    async def _write(self, flow_id: str, verb: Verb) -> bool:
        """Write a decision; tells whether it is the one that counts."""
        before = self._records.decision(flow_id)
        number = before.number + 1
        decision = flow_pb2.FlowDecision(
            flow_id=flow_id,
            number=number,
            state=LEADS_TO[verb],
            decided_at_us=time.time_ns() // 1000,
            discards=number if verb is Verb.DISCARD else before.discards,
        )
        key = decision_key(flow_id, number)
        await self._log.append(self._topic, key, decision.SerializeToString())
        await self._catalog.wait_decided(flow_id, number)
        counts = self._records.has_held(key)
        if counts:
            logger.info("flow.decided", flow_id=flow_id, verb=verb.value, number=number)
        await take_out_stale(self._catalog, self._log, self._topic, flow_id)
        return counts
