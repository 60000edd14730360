"""What became of events: found in the index, their bytes read from the log."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError

from hookline.errors import Error
from hookline.log import Log, Record, Topic
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from services.console import index_queries as queries
from services.console.following import Following
from services.console.index_file import IndexFile
from services.console.index_queries import Indexed, IndexedLetter, Page, Replay
from services.console.index_rows import position_of
from services.console.tailing import tail
from services.console.trimmed import why_missing

MOST_TIMELINE: Final = 200
Filter = execution_pb2.EventFilter
Found = TypeVar("Found")


class Unknown(Error):
    """There is no such event, dead letter, or replay; the text says where to look."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first, and where the next page begins, if there is one."""

    events: Sequence[Indexed]
    next: Page | None


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Dead letters with the events that repeat theirs, and where the next page begins."""

    letters: Sequence[tuple[IndexedLetter, Sequence[Replay]]]
    next: Page | None


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is known of an event.

    `event` is None where the log does not have it any more.
    """

    row: Indexed
    event: event_pb2.Event | None
    ended: execution_pb2.ExecutionEnded | None
    timeline: Sequence[tuple[Record, execution_pb2.JournalEntry]]
    letter: IndexedLetter | None
    replays: Sequence[Replay]


class History:
    """Answers from the index; the log is asked for what is shown whole."""

    def __init__(
        self, log: Log, topics: Topics, index: IndexFile, following: Following
    ) -> None:
        self.log = log
        self.topics = topics
        self.following = following
        self._index = index
        self._thread = ThreadPoolExecutor(1, "console-answers")

    def close(self) -> None:
        """Answer no more."""
        self._thread.shutdown()

    async def events(self, wanted: Filter, behind: Page, limit: int) -> EventPage:
        """A page of events, newest first. Raises Unavailable."""
        await self.following.wait_current()
        found = await self._ask(queries.events, wanted, behind, limit + 1)
        page, more = found[:limit], found[limit:]
        last = page[-1] if more else None
        return EventPage(page, last and Page(last.accepted_at_us, last.place))

    async def event_places(self, wanted: Filter) -> list[int]:
        """Where all events are that a filter finds, oldest first. Raises Unavailable."""
        await self.following.wait_current()
        return await self._ask(queries.event_places, wanted)

    async def letters(self, wanted: Filter, behind: Page, limit: int) -> LetterPage:
        """A page of dead letters; what failed last comes first. Raises Unavailable."""
        await self.following.wait_current()
        found = await self._ask(queries.letters, wanted, behind, limit + 1)
        page, more = found[:limit], found[limit:]
        replays = await self._ask(queries.replays, [one.packed_id for one in page])
        last = page[-1] if more else None
        return LetterPage(
            [(one, replays.get(one.packed_id, ())) for one in page],
            last and Page(last.failed_at_us, last.place),
        )

    async def letter_places(self, wanted: Filter) -> list[tuple[int, int]]:
        """Places and own offsets of all dead letters that a filter finds, oldest first."""
        await self.following.wait_current()
        return await self._ask(queries.letter_places, wanted)

    async def row(self, event_id: str) -> Indexed | None:
        """How an event stands. Raises Unavailable."""
        found = await self._ask(queries.find, event_id)
        # What has ended stays so; all else may have moved on.
        if found is None or found.end_offset is None:
            await self.following.wait_current()
            found = await self._ask(queries.find, event_id)
        return found

    async def find(self, event_id: str) -> Known | None:
        """Everything that is known of an event. Raises Unavailable."""
        await self.following.wait_current()
        row = await self._ask(queries.find, event_id)
        if row is None:
            return None
        letter = await self._ask(queries.letter_at, row.place)
        replays = await self._ask(queries.replays, [row.packed_id])
        offsets = await self._ask(queries.happened, row.place, MOST_TIMELINE)
        if row.end_offset is not None:
            offsets.append(row.end_offset)
        timeline = [one async for one in self._entries(row, offsets)]
        ended = [entry.ended for _, entry in timeline if entry.HasField("ended")]
        return Known(
            row,
            await self.event_at(row.place),
            ended[-1] if ended else None,
            timeline,
            letter,
            replays.get(row.packed_id, ()),
        )

    async def find_letter(
        self, letter_id: str
    ) -> tuple[IndexedLetter, execution_pb2.DeadLetter, Sequence[Replay]] | None:
        """A dead letter, whole, and the events that repeat its event."""
        await self.following.wait_current()
        row = await self._ask(queries.find_letter, letter_id)
        if row is None:
            return None
        letter = await self.letter_at(row.place, row.offset)
        replays = await self._ask(queries.replays, [row.packed_id])
        return row, letter, replays.get(row.packed_id, ())

    async def event_at(self, place: int) -> event_pb2.Event | None:
        """The event at a place; None where it is gone. Raises Unavailable."""
        record = await self._record(self.topics.events, *position_of(place))
        try:
            return record and event_pb2.Event.FromString(record.value or b"")
        except DecodeError:
            return None

    async def letter_at(self, place: int, offset: int) -> execution_pb2.DeadLetter:
        """The dead letter at its own offset; an empty one where it is gone."""
        partition, _ = position_of(place)
        record = await self._record(self.topics.dead_letters, partition, offset)
        try:
            value = (record.value or b"") if record else b""
            return execution_pb2.DeadLetter.FromString(value)
        except DecodeError:
            return execution_pb2.DeadLetter()

    async def why_missing(self, event_id: str) -> str:
        """A sentence for whoever asks for an event that is not there."""
        return await why_missing(self.log, self.topics.events, event_id)

    def tail(self, flow_id: str) -> AsyncIterator[execution_pb2.EventSummary]:
        """Events and ends from now on, as they come."""
        return tail(self.log, self.topics, flow_id)

    async def _entries(
        self, row: Indexed, offsets: Sequence[int]
    ) -> AsyncIterator[tuple[Record, execution_pb2.JournalEntry]]:
        partition, _ = row.position
        for offset in offsets:
            record = await self._record(self.topics.executions, partition, offset)
            if record is not None:
                value = record.value or b""
                yield record, execution_pb2.JournalEntry.FromString(value)

    async def _record(self, topic: Topic, partition: int, offset: int) -> Record | None:
        async for batch in self.log.read(topic, partition, offset, offset + 1):
            for record in batch:
                if record.offset == offset:
                    return record
        return None

    async def _ask(self, query: Callable[..., Found], *arguments: Any) -> Found:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, query, self._index, *arguments)
