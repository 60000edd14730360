"""What the records of the topic `flows` say: versions, and what was decided of flows.

A pure state machine. Whoever takes the records in their order comes to the same, whenever
they are read and whatever compaction has taken: of a flow's versions, and of its
decisions, the highest number holds, and of one number the first record. Two decisions
that replace the same one have the same number, so that the second of them counts for
nobody. Taken out of the topic are decisions of which a later one is there, and what does
not count beside the first of its number: where a lost answer has left that first record
in the log twice, compaction keeps its later place, and then nothing may stand before it.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias
from uuid import uuid4

from hookline.flow_numbers import Numbered
from hookline.log import Record
from hookline.v1 import flow_pb2

ACTIVE: Final = flow_pb2.FLOW_STATE_ACTIVE
SUSPENDED: Final = flow_pb2.FLOW_STATE_SUSPENDED
STOPPED: Final = flow_pb2.FLOW_STATE_STOPPED
DELETED: Final = flow_pb2.FLOW_STATE_DELETED
KEYS_KEPT: Final = 1024
VERSION: Final = b"version/"
DECISION: Final = b"decision/"
KEY: Final = re.compile(rb"(version/|decision/)([\w-]+)/(\d{1,10})/[0-9a-f]+")
UNDECIDED: Final = flow_pb2.FlowDecision(state=ACTIVE)
State: TypeAlias = "flow_pb2.FlowState.ValueType"


def version_key(flow_id: str, version: int) -> bytes:
    """A record key for one version of a flow; never the same twice.

    So compaction takes nothing, and whoever reads the topic, whenever, finds the same
    first record of a version.
    """
    return b"%s%s/%d/%s" % (VERSION, flow_id.encode(), version, _random())


def decision_key(flow_id: str, number: int) -> bytes:
    """A record key for one decision about a flow; never the same twice."""
    return b"%s%s/%d/%s" % (DECISION, flow_id.encode(), number, _random())


def _random() -> bytes:
    return uuid4().hex.encode()


class FlowRecords:
    """Every version of every flow, and the decision that holds for each."""

    def __init__(self) -> None:
        self._versions: defaultdict[str, Numbered[flow_pb2.Flow]]
        self._versions = defaultdict(Numbered)
        self._decisions: defaultdict[str, Numbered[flow_pb2.FlowDecision]]
        self._decisions = defaultdict(Numbered)
        # The keys of the newest decisions that have held.
        self._held: deque[bytes] = deque(maxlen=KEYS_KEPT)

    def take(self, record: Record) -> str | None:
        """The topic's next record; tells the flow of which something has changed.

        Raises DecodeError where it is not what its key says.
        """
        key = record.key
        if record.value is None:
            return self._take_out(key)
        if key.startswith(VERSION):
            flow = flow_pb2.Flow.FromString(record.value)
            first = self._versions[flow.id].take(flow.version, key, flow)
            return flow.id if first else None
        if key.startswith(DECISION):
            return self._take_decision(
                key, flow_pb2.FlowDecision.FromString(record.value)
            )
        return None

    def _take_decision(self, key: bytes, decision: flow_pb2.FlowDecision) -> str | None:
        decisions = self._decisions[decision.flow_id]
        if decision.number > decisions.highest:
            self._held.append(key)
        first = decisions.take(decision.number, key, decision)
        return decision.flow_id if first else None

    def _take_out(self, key: bytes) -> str | None:
        if (found := KEY.fullmatch(key)) is None:
            return None
        kind, flow_id, number = found[1], found[2].decode(), int(found[3])
        numbered: Numbered[flow_pb2.Flow] | Numbered[flow_pb2.FlowDecision] | None
        if kind == VERSION:
            numbered = self._versions.get(flow_id)
        else:
            numbered = self._decisions.get(flow_id)
        was_first = numbered is not None and numbered.take_out(number, key)
        return flow_id if was_first else None

    def current(self, flow_id: str) -> flow_pb2.Flow | None:
        """The highest version of a flow, whatever its state is."""
        versions = self._versions.get(flow_id)
        return None if versions is None else versions.current

    def served(self, flow_id: str) -> flow_pb2.Flow | None:
        """The version that requests for a flow get; None where they get 404."""
        if self.state(flow_id) in {ACTIVE, SUSPENDED}:
            return self.current(flow_id)
        return None

    def version(self, flow_id: str, version: int) -> flow_pb2.Flow | None:
        """A certain version of a flow."""
        versions = self._versions.get(flow_id)
        return None if versions is None else versions.get(version)

    def versions(self, flow_id: str) -> Sequence[flow_pb2.Flow]:
        """All versions of a flow, newest first."""
        versions = self._versions.get(flow_id)
        return [] if versions is None else list(versions.newest_first())

    def flows(self) -> Iterator[flow_pb2.Flow]:
        """The highest version of each flow, by id, whatever its state is."""
        for flow_id in sorted(self._versions):
            if flow := self._versions[flow_id].current:
                yield flow

    def decision(self, flow_id: str) -> flow_pb2.FlowDecision:
        """The decision that holds; one of number 0 where nothing was ever decided."""
        decisions = self._decisions.get(flow_id)
        return (decisions and decisions.current) or UNDECIDED

    def state(self, flow_id: str) -> "State | None":
        """What a flow is by what was decided; None where there never was such a flow.

        A deleted flow is there again with a version whose author knew of the deletion.
        """
        if (flow := self.current(flow_id)) is None:
            return None
        decision = self.decision(flow_id)
        comes_back = flow.follows_decision >= decision.number
        return ACTIVE if decision.state == DELETED and comes_back else decision.state

    def is_discarded(self, flow_id: str, version: int) -> bool:
        """Whether a deletion discards what was accepted under a version of a flow."""
        flow = self.version(flow_id, version)
        return (
            flow is not None and flow.follows_decision < self.decision(flow_id).discards
        )

    def has_held(self, key: bytes) -> bool:
        """Whether a decision, by its record's key, holds or has held, not long ago."""
        return key in self._held

    def stale_keys(self, flow_id: str) -> Sequence[bytes]:
        """The keys of a flow's records that can be taken out of the topic."""
        stale: set[bytes] = set()
        if versions := self._versions.get(flow_id):
            stale.update(versions.lost())
        if decisions := self._decisions.get(flow_id):
            stale.update(decisions.lost(), decisions.past())
        return sorted(stale)
