"""Stop 7, before each start: whether the flow's steps may start at all.

A flow that is suspended or stopped starts nothing; of one that was deleted with what it
had accepted, nothing starts any more. That is so from when this process has read the
decision: what runs then runs to its end.
"""

from typing import NamedTuple

from hookline.catalog import Catalog, Changed
from hookline.event import FlowId
from hookline.flow_records import STOPPED, SUSPENDED
from services.executor.failure import Discarded, Rests


class _Shut(NamedTuple):
    rests: bool
    discards: int


class Gate:
    """Open for every flow but those that the catalog has otherwise."""

    def __init__(self, catalog: Catalog | None = None) -> None:
        self._catalog = catalog
        self._shut: dict[str, _Shut] = {}
        self.on_change: Changed = lambda _: None
        if catalog is not None:
            catalog.on_change(self._look)
            for flow in catalog.flows():
                self._look(FlowId(flow.id))

    def pass_through(self, flow_id: str, version: int) -> None:
        """Return where a step of a flow's version may start.

        Raises Rests where it has to wait until the flow is woken, Discarded where it
        never may.
        """
        if flow_id in self._shut:
            self._judge(flow_id, version)

    def _judge(self, flow_id: str, version: int) -> None:
        shut = self._shut[flow_id]
        catalog = self._catalog
        if shut.discards and catalog and catalog.records.is_discarded(flow_id, version):
            raise Discarded
        if shut.rests:
            raise Rests(None)

    def _look(self, flow_id: FlowId) -> None:
        """A flow has changed; what of it rests is to look again."""
        assert self._catalog is not None  # noqa: S101 - it has called
        records = self._catalog.records
        before = self._shut.pop(flow_id, None)
        rests = records.state(flow_id) in {SUSPENDED, STOPPED}
        shut = _Shut(rests, records.decision(flow_id).discards)
        if any(shut):
            self._shut[flow_id] = shut
        if self._shut.get(flow_id) != before:
            self.on_change(flow_id)
