"""Rules about what is in the log: what was accepted, and in which order."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.faults.evidence import Evidence
from tests.faults.history import Call, Ok


def accepted_is_logged(evidence: Evidence) -> Iterator[str]:
    """Every event whose caller has a 2xx is in the log, under the id it was told."""
    for call in evidence.calls:
        if not isinstance(call.end, Ok):
            continue
        records = evidence.records_by_event.get(call.end.event_id, ())
        if not records:
            yield f"{call.end.event_id} of {call.name} was accepted and is lost"
        elif (records[0].caller, records[0].number) != call.name:
            yield f"{call.end.event_id} of {call.name} holds another request's body"


def logged_was_invoked(evidence: Evidence) -> Iterator[str]:
    """Every record of the log was sent by a caller, to that flow."""
    sent = {(*call.name, call.invoke.flow) for call in evidence.calls}
    for record in evidence.logged:
        if (record.caller, record.number, record.flow) not in sent:
            yield f"{record.event_id} at {record.position} was sent by nobody"


def refused_is_not_logged(evidence: Evidence) -> Iterator[str]:
    """What was refused for certain is not in the log."""
    told = defaultdict(set)
    for call in evidence.calls:
        told[call.name].add(call.end.__class__.__name__)
    for record in evidence.logged:
        if told[record.caller, record.number] == {"Fail"}:
            yield f"{record.event_id} at {record.position} was refused, and is logged"


def one_request_is_one_event(evidence: Evidence) -> Iterator[str]:
    """A request that was sent once, without a key, is one event."""
    sent: dict[tuple[str, int], list[Call]] = defaultdict(list)
    for call in evidence.calls:
        sent[call.name].append(call)
    ids = defaultdict(set)
    for record in evidence.logged:
        ids[record.caller, record.number].add(record.event_id)
    for name, calls in sent.items():
        if len(calls) == 1 and not calls[0].invoke.key and len(ids[name]) > 1:
            yield f"{name} was sent once and is {len(ids[name])} events"


def one_execution_a_key(evidence: Evidence) -> Iterator[str]:
    """Requests with the same flow and idempotency key are executed once."""
    key_by_name = {
        call.name: (call.invoke.flow, call.invoke.key)
        for call in evidence.calls
        if call.invoke.key
    }
    ran = {run.position for run in evidence.runs if run.status != "duplicate"}
    executed = defaultdict(set)
    for record in evidence.logged:
        key = key_by_name.get((record.caller, record.number))
        if key is not None and record.position in ran:
            executed[key].add(record.position)
    for key, positions in executed.items():
        if len(positions) > 1:
            yield f"{key} was executed {len(positions)} times: {sorted(positions)}"


def callers_order_is_the_logs(evidence: Evidence) -> Iterator[str]:
    """What one caller sent to a flow one after another is in the log in that order."""
    rows: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in evidence.calls:
        if isinstance(call.end, Ok) and call.end.event_id in evidence.records_by_event:
            rows[call.invoke.caller, call.invoke.flow].append(call)
    for calls in rows.values():
        yield from _out_of_order(calls, evidence)


def _out_of_order(calls: Sequence[Call], evidence: Evidence) -> Iterator[str]:
    def position(call: Call) -> tuple[int, int]:
        assert isinstance(call.end, Ok)
        return evidence.records_by_event[call.end.event_id][0].position

    ends = sorted(calls, key=lambda call: call.end.at_us if call.end else 0)
    highest: Call | None = None
    done = 0
    for call in sorted(calls, key=lambda call: call.invoke.at_us):
        while (end := ends[done].end) and end.at_us < call.invoke.at_us:
            if highest is None or position(ends[done]) > position(highest):
                highest = ends[done]
            done += 1
        if highest is not None and position(highest) > position(call):
            yield f"{call.name} was sent after {highest.name}, and is before it"
