"""Rows of the index and records of the log, as ExecutionService shows them."""

from collections.abc import Iterator, Sequence

from hookline.log import Record
from hookline.v1 import execution_pb2
from services.console.history import Known
from services.console.index_queries import Indexed, IndexedLetter, Replay
from services.console.index_rows import position_of

Status = execution_pb2.Status


def summary_of(row: Indexed) -> execution_pb2.EventSummary:
    """An event in a line of a list."""
    partition, offset = row.position
    summary = execution_pb2.EventSummary(
        event_id=row.event_id,
        flow_id=row.flow_id,
        flow_version=row.flow_version,
        accepted_at_us=row.accepted_at_us,
        status=Status.ValueType(row.status),
        partition=partition,
        offset=offset,
        replayed=row.replayed,
    )
    if row.ended_at_us:
        summary.ended.CopyFrom(_ended(row))
    elif row.next_at_us:
        summary.waits.step = row.step or ""
        summary.waits.attempt = row.attempt or 0
        summary.waits.next_at_us = row.next_at_us
        summary.waits.error = row.reason or ""
    return summary


def _ended(row: Indexed) -> execution_pb2.ExecutionEnded:
    return execution_pb2.ExecutionEnded(
        status=Status.ValueType(row.status),
        started_at_us=row.started_at_us or 0,
        ended_at_us=row.ended_at_us or 0,
        attempts=row.attempts or 0,
        step=row.step or "",
        reason=row.reason or "",
        result=row.result or b"",
    )


def answer_of(known: Known) -> execution_pb2.GetEventResponse:
    """Everything that is known of an event."""
    summary = summary_of(known.row)
    if known.ended is not None:
        summary.ended.CopyFrom(known.ended)  # whole, where the index has it cut
    answer = execution_pb2.GetEventResponse(
        summary=summary,
        event=known.event,
        timeline=_timeline(known.timeline),
        replays=[one.event_id for one in known.replays],
    )
    if known.letter is not None:
        answer.dead_letter.CopyFrom(letter_summary(known.letter, known.replays))
    return answer


def letter_summary(
    letter: IndexedLetter, replays: Sequence[Replay]
) -> execution_pb2.DeadLetterSummary:
    """A dead letter in a line of a list."""
    partition, event_offset = position_of(letter.place)
    summary = execution_pb2.DeadLetterSummary(
        id=letter.id,
        flow_id=letter.flow_id,
        step=letter.step,
        reason=letter.reason,
        attempts=letter.attempts,
        indeterminate=bool(letter.indeterminate),
        failed_at_us=letter.failed_at_us,
        partition=partition,
        offset=letter.offset,
        event_offset=event_offset,
        replays=[one.event_id for one in replays],
    )
    if replays:
        summary.replay_status = Status.ValueType(replays[-1].status)
    return summary


def _timeline(
    entries: Sequence[tuple[Record, execution_pb2.JournalEntry]],
) -> Iterator[execution_pb2.TimelineEntry]:
    for record, entry in entries:
        shown = execution_pb2.TimelineEntry(at_us=record.appended_at_ms * 1000)
        if entry.HasField("ended"):
            shown.ended.CopyFrom(entry.ended)
        elif entry.HasField("control"):
            shown.control.CopyFrom(entry.control)
            shown.control.ClearField("progress")
        elif not _show_progress(entry.progress, shown):
            continue
        yield shown


def _show_progress(
    progress: execution_pb2.ExecutionProgress, shown: execution_pb2.TimelineEntry
) -> bool:
    """Whether it says anything that is for a person."""
    match progress.WhichOneof("doing"):
        case "started":
            shown.started.CopyFrom(progress.started)
        case "failed":
            shown.failed.CopyFrom(progress.failed)
        case "held":
            shown.held.CopyFrom(progress.held)
        case _:
            return _show_done(progress.moved, shown)
    return True


def _show_done(
    moved: execution_pb2.MessagesMoved, shown: execution_pb2.TimelineEntry
) -> bool:
    """The step that has made the message with which the execution goes on."""
    if not moved.waiting:
        return False
    shown.done.step = moved.waiting[-1].made_by
    made = [one for one in moved.waiting if one.made_by == shown.done.step]
    shown.done.messages = len(made)
    return True
