"""What the records of the topic `flows` say: versions, and what was decided of flows.

A pure state machine. Whoever takes the records in their order comes to the same, whenever
they are read and whatever compaction has taken: of a flow's versions, and of its
decisions, the highest number holds, and of one number the first record. Two decisions
that replace the same one have the same number, so that the second of them counts for
nobody. A record is taken out only when a later one of a higher number is there.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias
from uuid import uuid4

from hookline.log import Record
from hookline.v1 import flow_pb2

ACTIVE: Final = flow_pb2.FLOW_STATE_ACTIVE
SUSPENDED: Final = flow_pb2.FLOW_STATE_SUSPENDED
STOPPED: Final = flow_pb2.FLOW_STATE_STOPPED
DELETED: Final = flow_pb2.FLOW_STATE_DELETED
KEYS_KEPT: Final = 1024
VERSION: Final = b"version/"
DECISION: Final = b"decision/"
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
        self._versions: dict[str, dict[int, flow_pb2.Flow]] = {}
        self._current: dict[str, flow_pb2.Flow] = {}
        self._decisions: dict[str, flow_pb2.FlowDecision] = {}
        self._decision_keys: dict[str, bytes] = {}
        # Of decisions that do not hold, or not any more.
        self._stale: defaultdict[str, set[bytes]] = defaultdict(set)
        # Of the newest decisions that have held.
        self._held: deque[bytes] = deque(maxlen=KEYS_KEPT)

    def take(self, record: Record) -> str | None:
        """The topic's next record; tells the flow of which something has changed.

        Raises DecodeError where it is not what its key says.
        """
        if record.key.startswith(VERSION):
            return self._take_version(record.value)
        if record.key.startswith(DECISION):
            return self._take_decision(record.key, record.value)
        return None

    def _take_version(self, value: bytes | None) -> str | None:
        if value is None:
            return None
        flow = flow_pb2.Flow.FromString(value)
        versions = self._versions.setdefault(flow.id, {})
        if versions and flow.version <= self._current[flow.id].version:
            return None
        versions[flow.version] = self._current[flow.id] = flow
        return flow.id

    def _take_decision(self, key: bytes, value: bytes | None) -> str | None:
        if value is None:
            self._forget(key)
            return None
        decision = flow_pb2.FlowDecision.FromString(value)
        flow_id = decision.flow_id
        if decision.number <= self.decision(flow_id).number:
            self._stale[flow_id].add(key)
            return None
        if before := self._decision_keys.get(flow_id):
            self._stale[flow_id].add(before)
        self._decisions[flow_id] = decision
        self._decision_keys[flow_id] = key
        self._held.append(key)
        return flow_id

    def _forget(self, key: bytes) -> None:
        flow_id = key.removeprefix(DECISION).partition(b"/")[0].decode(errors="replace")
        if stale := self._stale.get(flow_id):
            stale.discard(key)
            if not stale:
                del self._stale[flow_id]

    def current(self, flow_id: str) -> flow_pb2.Flow | None:
        """The highest version of a flow, whatever its state is."""
        return self._current.get(flow_id)

    def served(self, flow_id: str) -> flow_pb2.Flow | None:
        """The version that requests for a flow get; None where they get 404."""
        if self.state(flow_id) in {ACTIVE, SUSPENDED}:
            return self.current(flow_id)
        return None

    def version(self, flow_id: str, version: int) -> flow_pb2.Flow | None:
        """A certain version of a flow."""
        return self._versions.get(flow_id, {}).get(version)

    def versions(self, flow_id: str) -> Sequence[flow_pb2.Flow]:
        """All versions of a flow, newest first."""
        return list(reversed(self._versions.get(flow_id, {}).values()))

    def flows(self) -> Iterator[flow_pb2.Flow]:
        """The highest version of each flow, by id, whatever its state is."""
        for flow_id in sorted(self._current):
            yield self._current[flow_id]

    def decision(self, flow_id: str) -> flow_pb2.FlowDecision:
        """The decision that holds; one of number 0 where nothing was ever decided."""
        return self._decisions.get(flow_id, UNDECIDED)

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
        """The keys of decisions that can be taken out of the topic."""
        return sorted(self._stale.get(flow_id, ()))
