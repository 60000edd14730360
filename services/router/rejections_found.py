"""Rejections read back from the log: newest first, by id, and what became of them."""

from dataclasses import dataclass

from hookline.log import Log, Topic, partition_of
from hookline.log.search import backwards, first_since, id_time_ms, records
from hookline.v1 import event_pb2, rejection_pb2

# A record holds up to 256 KiB: so few of them are held at once.
WINDOW = 128
SKEW_MS = 5_000
APPENDED_WITHIN_MS = 60_000
Record = rejection_pb2.RejectionRecord


@dataclass(slots=True)
class Found:
    """A rejection; `event_id` is named once somebody has begun to accept it.

    `left_out` counts refusals of its flow, for its reason, that came next and were not
    kept.
    """

    rejection: rejection_pb2.Rejection
    left_out: int = 0
    event_id: str = ""
    accepted: bool = False


class FoundRejections:
    """Reads the topic `rejections` without an index."""

    def __init__(self, log: Log, topic: Topic) -> None:
        self._log = log
        self._topic = topic

    async def newest(
        self, flow_id: str, reason: "event_pb2.Reason.ValueType", limit: int
    ) -> list[Found]:
        """The newest, newest first; of one flow and for one reason, where given."""
        found = [
            found
            for partition in self._partitions(flow_id)
            for found in await self._newest_in(partition, flow_id, reason, limit)
        ]
        # A record may be there twice; what is told of it is with its newer copy.
        found = list({one.rejection.id: one for one in reversed(found)}.values())
        found.sort(key=lambda one: one.rejection.rejected_at_us, reverse=True)
        return found[:limit]

    async def find(self, rejection_id: str) -> Found | None:
        """The rejection with this id."""
        rejected_ms = id_time_ms(rejection_id)
        if rejected_ms is None:
            return None
        for partition in range(self._topic.partitions):
            found = await self._find_in(partition, rejection_id, rejected_ms)
            if found is not None:
                return found
        return None

    def _partitions(self, flow_id: str) -> range:
        count = self._topic.partitions
        if not flow_id:
            return range(count)
        only = partition_of(flow_id.encode(), count)
        return range(only, only + 1)

    async def _newest_in(
        self,
        partition: int,
        flow_id: str,
        reason: "event_pb2.Reason.ValueType",
        limit: int,
    ) -> list[Found]:
        """What is told of a rejection stands behind it, so it is met before it."""
        found: list[Found] = []
        told = _Told()
        async for one in backwards(self._log, self._topic, partition, WINDOW):
            record = Record.FromString(one.value or b"")
            if not record.HasField("kept"):
                told.take(record)
                continue
            kept = told.of(record.kept)
            if flow_id not in ("", kept.rejection.flow_id):
                continue
            if reason in (0, kept.rejection.reason):
                kept.rejection.request.body = b""
                found.append(kept)
            if len(found) >= limit:
                break
        return found

    async def _find_in(
        self, partition: int, rejection_id: str, rejected_ms: int
    ) -> Found | None:
        """From its time on, for so long as it may take to be appended; then its marks."""
        since_ms = rejected_ms - SKEW_MS
        start = await first_since(self._log, self._topic, partition, since_ms)
        end = (await self._log.bounds(self._topic, partition)).end
        wanted = rejection_id.encode()
        found: Found | None = None
        async for one in records(self._log, self._topic, partition, start, end):
            if found is None and one.appended_at_ms > rejected_ms + APPENDED_WITHIN_MS:
                break
            if wanted in (one.value or b""):
                found = _with(found, Record.FromString(one.value or b""), rejection_id)
        return found


class _Told:
    """What records behind a rejection tell of it, read from the newest on."""

    def __init__(self) -> None:
        self._left_out: dict[tuple[str, int], int] = {}
        self._accepted: dict[str, str] = {}

    def take(self, record: Record) -> None:
        match record.WhichOneof("kind"):
            case "left_out":
                left_out = record.left_out
                kind = left_out.flow_id, left_out.reason
                self._left_out[kind] = self._left_out.get(kind, 0) + left_out.count
            case "accepted":
                accepted = record.accepted
                self._accepted[accepted.rejection_id] = accepted.event_id
            case _:
                pass

    def of(self, rejection: rejection_pb2.Rejection) -> Found:
        event_id = self._accepted.pop(rejection.id, "")
        left_out = self._left_out.pop((rejection.flow_id, rejection.reason), 0)
        return Found(rejection, left_out, event_id, bool(event_id))


def _with(found: Found | None, record: Record, rejection_id: str) -> Found | None:
    """A rejection and its marks, in their order; the first mark names the event."""
    kind = record.WhichOneof("kind")
    if kind == "kept" and record.kept.id == rejection_id:
        return found or Found(record.kept)
    if found is None or kind not in ("accepting", "accepted"):
        return found
    mark = record.accepting if kind == "accepting" else record.accepted
    if mark.rejection_id == rejection_id:
        found.event_id = found.event_id or mark.event_id
        found.accepted = found.accepted or kind == "accepted"
    return found
