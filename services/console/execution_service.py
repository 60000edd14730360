"""ExecutionService over gRPC: shows events and what became of them, and acts on them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from hookline.errors import Malformed, TooLarge, Unavailable
from hookline.v1 import control_pb2, execution_pb2, execution_pb2_grpc
from services.console.asking import Asking, Settled
from services.console.history import Filter, History, Unknown
from services.console.index_queries import BadFilter, Page
from services.console.replays import Replays
from services.console.shown import answer_of, letter_summary, summary_of

Context = grpc.aio.ServicerContext[Any, Any]
DEFAULT_LIMIT = 20
MOST = 1000
MOST_IDS = 1000


class ExecutionServicer(execution_pb2_grpc.ExecutionServiceServicer):
    """Translates between gRPC, the history, and what acts on events."""

    def __init__(self, history: History, asking: Asking, replays: Replays) -> None:
        self._history = history
        self._asking = asking
        self._replays = replays

    async def ListEvents(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.ListEventsRequest, context: Context
    ) -> execution_pb2.ListEventsResponse:
        """Events, newest first, a page at a time."""
        wanted = request.filter
        wanted.flow_id = wanted.flow_id or request.flow_id
        async with _answering(context):
            _check(wanted)
            page = await self._history.events(
                wanted, Page.behind(request.page_token), _limit(request.limit)
            )
            return execution_pb2.ListEventsResponse(
                events=map(summary_of, page.events),
                next_page_token=page.next.token if page.next else "",
                behind=self._history.following.behind,
            )

    async def GetEvent(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.GetEventRequest, context: Context
    ) -> execution_pb2.GetEventResponse:
        """One event with everything that is known of it."""
        async with _answering(context):
            known = await self._history.find(request.event_id)
            if known is None:
                raise Unknown(await self._history.why_missing(request.event_id))
            return answer_of(known)

    async def TailEvents(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.TailEventsRequest, context: Context
    ) -> AsyncIterator[execution_pb2.TailEventsResponse]:
        """Events and their ends as they come."""
        async with _answering(context):
            async for summary in self._history.tail(request.flow_id):
                yield execution_pb2.TailEventsResponse(event=summary)

    async def ListDeadLetters(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.ListDeadLettersRequest, context: Context
    ) -> execution_pb2.ListDeadLettersResponse:
        """Dead letters; what failed last comes first, a page at a time."""
        async with _answering(context):
            _check(request.filter)
            page = await self._history.letters(
                request.filter, Page.behind(request.page_token), _limit(request.limit)
            )
            return execution_pb2.ListDeadLettersResponse(
                dead_letters=[letter_summary(*one) for one in page.letters],
                next_page_token=page.next.token if page.next else "",
                behind=self._history.following.behind,
            )

    async def GetDeadLetter(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.GetDeadLetterRequest, context: Context
    ) -> execution_pb2.GetDeadLetterResponse:
        """One dead letter, whole."""
        async with _answering(context):
            found = await self._history.find_letter(request.id)
            if found is None:
                raise Unknown(
                    f"There is no dead letter {request.id!r}; `hookline dead-letters "
                    "list` has them all."
                )
            row, letter, replays = found
            return execution_pb2.GetDeadLetterResponse(
                summary=letter_summary(row, replays), dead_letter=letter
            )

    async def RetryEvent(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.RetryEventRequest, context: Context
    ) -> execution_pb2.RetryEventResponse:
        """Make the next attempt now."""
        control = control_pb2.Control(retry_now=control_pb2.RetryNow())
        async with _answering(context):
            asked = await self._asking.ask(request.event_id, control)
            return execution_pb2.RetryEventResponse(asked=asked)

    async def SkipEvent(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.SkipEventRequest, context: Context
    ) -> execution_pb2.SkipEventResponse:
        """End an event as skipped."""
        control = control_pb2.Control(skip=control_pb2.Skip())
        async with _answering(context):
            asked = await self._asking.ask(request.event_id, control)
            return execution_pb2.SkipEventResponse(asked=asked)

    async def CancelEvent(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.CancelEventRequest, context: Context
    ) -> execution_pb2.CancelEventResponse:
        """End an event as cancelled."""
        control = control_pb2.Control(cancel=control_pb2.Cancel())
        async with _answering(context):
            asked = await self._asking.ask(request.event_id, control)
            return execution_pb2.CancelEventResponse(asked=asked)

    async def EditAndRetryEvent(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.EditAndRetryEventRequest, context: Context
    ) -> execution_pb2.EditAndRetryEventResponse:
        """Begin an event anew with another body, or other headers."""
        control = control_pb2.Control(edit_and_retry=request.edit)
        async with _answering(context):
            asked = await self._asking.ask(request.event_id, control)
            return execution_pb2.EditAndRetryEventResponse(asked=asked)

    async def ReplayEvents(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.ReplayEventsRequest, context: Context
    ) -> execution_pb2.ReplayEventsResponse:
        """Append events again; answers when it is known which."""
        async with _answering(context):
            _check(request.filter)
            wanted = await self._replays.wanted(request)
            answer = execution_pb2.ReplayEventsResponse(count=len(wanted))
            if not request.dry_run:
                answer.replay.CopyFrom(self._replays.begin(request, wanted))
            return answer

    async def ListReplays(  # noqa: N802 - the method's name in the proto
        self, _request: execution_pb2.ListReplaysRequest, _context: Context
    ) -> execution_pb2.ListReplaysResponse:
        """The replays since the start, newest first."""
        return execution_pb2.ListReplaysResponse(replays=self._replays.all())

    async def CancelReplay(  # noqa: N802 - the method's name in the proto
        self, request: execution_pb2.CancelReplayRequest, context: Context
    ) -> execution_pb2.CancelReplayResponse:
        """End a replay; what it has appended stays."""
        async with _answering(context):
            replay = await self._replays.cancel(request.replay_id)
            return execution_pb2.CancelReplayResponse(replay=replay)


@asynccontextmanager
async def _answering(context: Context) -> AsyncIterator[None]:
    """A log that cannot be read is the caller's UNAVAILABLE; asking again is safe."""
    try:
        yield
    except Unavailable as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    except (BadFilter, Malformed, TooLarge) as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except Settled as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except Unknown as error:
        await context.abort(grpc.StatusCode.NOT_FOUND, str(error))


def _limit(limit: int) -> int:
    return min(limit or DEFAULT_LIMIT, MOST)


def _check(wanted: Filter) -> None:
    """Raise BadFilter where it is too large."""
    if len(wanted.event_ids) > MOST_IDS:
        raise BadFilter(f"At most {MOST_IDS:,} ids at once: ask in several calls.")


def add_executions(
    history: History, asking: Asking, replays: Replays, server: grpc.aio.Server
) -> str:
    """Add the service to a server; gives its full name."""
    execution_pb2_grpc.add_ExecutionServiceServicer_to_server(
        ExecutionServicer(history, asking, replays), server
    )
    return execution_pb2.DESCRIPTOR.services_by_name["ExecutionService"].full_name
