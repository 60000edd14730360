"""Replays: events appended again, as new events that say which one they repeat.

What a replay appends is in the log like any event, with the bytes of the first; that it
repeats one is in the event itself, so that it is known wherever the event is. A replay
that is cut short by the end of its process tells by these marks how far it was, and one
with `not_replayed` goes on there.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from uuid_utils import uuid7

from hookline.body_store import BodyStore
from hookline.catalog import Catalog
from hookline.errors import Error, NotAppended, TerminalError, TooLarge
from hookline.event import new_event_id
from hookline.log import partition_of
from hookline.telemetry import get_logger
from hookline.v1 import event_pb2, execution_pb2
from services.console.history import History, Unknown

DEFAULT_RATE: Final = 50
MOST_RATE: Final = 10_000
KEPT: Final = 100
AGAIN_S: Final = 1.0
RUNNING: Final = execution_pb2.REPLAY_STATE_RUNNING
DONE: Final = execution_pb2.REPLAY_STATE_DONE
CANCELLED: Final = execution_pb2.REPLAY_STATE_CANCELLED
FAILED: Final = execution_pb2.REPLAY_STATE_FAILED
GO_ON: Final = (
    "The last event may be in the log, or not: see whether it is, and replay the rest with "
    "--not-replayed."
)
# The place of an event; of a dead letter its own offset, too.
Wanted = tuple[int, int | None]
logger = get_logger(__name__)


class LeftOut(Error):
    """An event cannot be repeated; the text says why."""


class Replays:
    """The replays of this process. Made by `replaying`."""

    def __init__(
        self,
        history: History,
        catalog: Catalog,
        bodies: BodyStore | None,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._history = history
        self._catalog = catalog
        self._bodies = bodies
        self._tasks = tasks
        self._replays: OrderedDict[str, execution_pb2.Replay] = OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}

    async def wanted(
        self, request: execution_pb2.ReplayEventsRequest
    ) -> Sequence[Wanted]:
        """What a request asks to be replayed, oldest first. Raises Unavailable."""
        if request.dead_letters:
            return await self._history.letter_places(request.filter)
        places = await self._history.event_places(request.filter)
        return [(place, None) for place in places]

    def begin(
        self, request: execution_pb2.ReplayEventsRequest, wanted: Sequence[Wanted]
    ) -> execution_pb2.Replay:
        """Begin to replay; what has come of it is told by `all`."""
        replay = execution_pb2.Replay(
            id=str(uuid7()),
            state=RUNNING,
            count=len(wanted),
            started_at_us=time.time_ns() // 1000,
        )
        self._replays[replay.id] = replay
        running = self._run(replay, request, wanted)
        self._running[replay.id] = self._tasks.create_task(running)
        self._forget_old()
        logger.info("replay.started", replay_id=replay.id, events=replay.count)
        return replay

    def all(self) -> list[execution_pb2.Replay]:
        """The newest ones, newest first, as they are now."""
        return list(reversed(self._replays.values()))

    async def cancel(self, replay_id: str) -> execution_pb2.Replay:
        """End a replay, if it has not ended; returns when it has. Raises Unknown."""
        replay = self._replays.get(replay_id)
        if replay is None:
            raise Unknown(
                f"There is no replay {replay_id!r} since the start of this console; "
                "`hookline events replays` has them."
            )
        if (running := self._running.get(replay_id)) is not None:
            running.cancel()
            await asyncio.wait([running])
        return replay

    def stop(self) -> None:
        """End all of them."""
        for running in self._running.values():
            running.cancel()

    def _forget_old(self) -> None:
        for replay_id in list(self._replays):
            if len(self._replays) <= KEPT:
                return
            if replay_id not in self._running:
                del self._replays[replay_id]

    async def _run(
        self,
        replay: execution_pb2.Replay,
        request: execution_pb2.ReplayEventsRequest,
        wanted: Sequence[Wanted],
    ) -> None:
        pause_s = 1 / min(request.rate or DEFAULT_RATE, MOST_RATE)
        state = CANCELLED
        try:
            due = time.monotonic()
            for one in wanted:
                await asyncio.sleep(due - time.monotonic())
                due = max(due, time.monotonic() - 1) + pause_s
                await self._repeat(replay, one, original=request.original_version)
            state = DONE
        except Error as error:
            state, replay.reason = FAILED, f"{error} {GO_ON}"
        finally:
            self._running.pop(replay.id, None)
            replay.state, replay.ended_at_us = state, time.time_ns() // 1000
            logger.info(
                "replay.ended",
                replay_id=replay.id,
                state=execution_pb2.ReplayState.Name(state),
                appended=replay.appended,
                left_out=replay.left_out,
            )

    async def _repeat(
        self, replay: execution_pb2.Replay, wanted: Wanted, *, original: bool
    ) -> None:
        """Append one event again, or count it as left out. Raises Unavailable."""
        try:
            event = await self._event(wanted)
            await self._append(await self._again(event, original=original))
            replay.appended += 1
        except (LeftOut, TerminalError, TooLarge) as error:
            replay.left_out += 1
            replay.reason = str(error)

    async def _append(self, event: event_pb2.Event) -> None:
        """Waits for as long as the log does not begin to take it."""
        topic, key = self._history.topics.events, event.flow_id.encode()
        while True:
            try:
                await self._history.log.append(topic, key, event.SerializeToString())
            except NotAppended:
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _event(self, wanted: Wanted) -> event_pb2.Event:
        place, letter_offset = wanted
        if letter_offset is None:
            event = await self._history.event_at(place)
        else:
            event = (await self._history.letter_at(place, letter_offset)).event
        if event is None or not event.id:
            raise LeftOut("An event is gone from the log: it was too old.")
        return event

    async def _again(
        self, event: event_pb2.Event, *, original: bool
    ) -> event_pb2.Event:
        """A new event with the bytes of another."""
        flow = self._catalog.records.served(event.flow_id)
        if flow is None:
            raise LeftOut(
                f"The flow {event.flow_id} of an event is deleted or stopped: apply it "
                "again, or start it."
            )
        version = event.flow_version if original else flow.version
        if self._catalog.version(event.flow_id, version) is None:
            raise LeftOut(f"Version {version} of the flow {event.flow_id} is gone.")
        again = event_pb2.Event(
            id=new_event_id(),
            flow_id=event.flow_id,
            flow_version=version,
            accepted_at_us=time.time_ns() // 1000,
            request=event.request,
            from_rejection=event.from_rejection,
            replayed=event.id,
        )
        if event.request.HasField("stored_body"):
            again.request.stored_body.CopyFrom(await self._copied(event))
        return again

    async def _copied(self, event: event_pb2.Event) -> event_pb2.StoredBody:
        """Its body, an object of its own: that of the first goes with the first."""
        if self._bodies is None:
            raise LeftOut(
                "The body of an event is in a body store that this console does not know: "
                "set HOOKLINE_BODIES__STORE as routers and executors have it."
            )
        topic = self._history.topics.events
        partition = partition_of(event.flow_id.encode(), topic.partitions)
        return await self._bodies.copy_for_event(partition, event.request.stored_body)


@asynccontextmanager
async def replaying(
    history: History, catalog: Catalog, bodies: BodyStore | None
) -> AsyncIterator[Replays]:
    """Replay while the block runs; at its end replays are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        replays = Replays(history, catalog, bodies, tasks)
        try:
            yield replays
        finally:
            replays.stop()
