"""Events and dead letters, as commands print them."""

from functools import cache
from typing import Any

from hookline.cli.output import time_json


def event_row(event: Any) -> dict[str, Any]:
    """A summary of an event."""
    status = status_text(event.status)
    row: dict[str, Any] = {"event": event.event_id, "flow": event.flow_id}
    row["status"] = status
    if event.accepted_at_us:
        row["accepted_at"] = time_json(event.accepted_at_us)
        row["flow_version"] = event.flow_version
    row |= {"partition": event.partition, "offset": event.offset}
    if event.replayed:
        row["replayed"] = event.replayed
    if event.HasField("waits"):
        row |= _waiting(event.waits)
    if not event.HasField("ended"):
        return row
    ended = event.ended
    if event.accepted_at_us:
        row["ms"] = (ended.ended_at_us - event.accepted_at_us) // 1000
    when = "held_at" if status == "held" else "ended_at"
    row |= {when: time_json(ended.ended_at_us), "attempts": ended.attempts}
    if ended.step:
        row["step"] = ended.step
    row["outcome"] = ended.reason or _result(ended.result)
    return row


def _waiting(waits: Any) -> dict[str, Any]:
    row = {"step": waits.step, "attempts": waits.attempt, "outcome": waits.error}
    if waits.next_at_us:
        row["next_attempt_at"] = time_json(waits.next_at_us)
    return row


@cache
def status_text(status: int) -> str:
    """A status in a word."""
    from hookline.v1 import execution_pb2

    name = execution_pb2.Status.Name(execution_pb2.Status.ValueType(status))
    return name.removeprefix("STATUS_").lower()


def letter_row(letter: Any) -> dict[str, Any]:
    """A summary of a dead letter."""
    row: dict[str, Any] = {
        "failed_at": time_json(letter.failed_at_us),
        "event": letter.id,
        "flow": letter.flow_id,
        "step": letter.step,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "partition": letter.partition,
        "offset": letter.offset,
    }
    if letter.indeterminate:
        row["indeterminate"] = True
    if letter.replays:
        row["replays"] = list(letter.replays)
        row["replay"] = status_text(letter.replay_status)
    return row


def timeline_row(entry: Any) -> dict[str, Any]:
    """What the journal says at one time."""
    kind = entry.WhichOneof("happened")
    row: dict[str, Any] = {"at": time_json(entry.at_us), "what": kind}
    happened: Any = getattr(entry, kind or "done")
    match kind:
        case "started":
            row |= {"step": happened.step, "attempt": happened.attempt}
        case "failed":
            row |= _waiting(happened)
        case "held":
            row |= {"step": happened.step, "attempts": happened.attempts}
            row["reason"] = happened.reason
        case "done":
            row["step"] = happened.step
        case "control":
            row |= {"what": happened.what, "by": happened.by}
            row |= {"no_effect": happened.no_effect} if happened.no_effect else {}
        case "ended":
            row |= {"status": status_text(happened.status), "step": happened.step}
            row |= {"reason": happened.reason} if happened.reason else {}
    return {key: value for key, value in row.items() if value != ""}


def replay_row(replay: Any) -> dict[str, Any]:
    """How far a replay has come."""
    from hookline.v1 import execution_pb2

    state = execution_pb2.ReplayState.Name(replay.state)
    row = {
        "replay": replay.id,
        "state": state.removeprefix("REPLAY_STATE_").lower(),
        "events": replay.count,
        "appended": replay.appended,
        "left_out": replay.left_out,
        "started_at": time_json(replay.started_at_us),
    }
    if replay.ended_at_us:
        row["ended_at"] = time_json(replay.ended_at_us)
    if replay.reason:
        row["reason"] = replay.reason
    return row


def _result(result: bytes) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(result) if result else None
    except msgspec.DecodeError:  # cut at its limit
        return result.decode(errors="replace") + "…"
