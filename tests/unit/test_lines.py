"""What `hookline up` prints: for a person on a terminal, for programs elsewhere."""

import io
import json
import threading
from collections.abc import Callable

from hookline.cli.lines import MOST_WAITING, EventLines
from hookline.v1 import event_pb2, execution_pb2

EVENT = event_pb2.Event(id="e-1", flow_id="hello", accepted_at_us=1_000_000)


def ended(
    status: "execution_pb2.Status.ValueType", **fields: object
) -> execution_pb2.ExecutionEnded:
    return execution_pb2.ExecutionEnded(
        status=status,
        ended_at_us=1_002_500,
        attempts=1,
        **fields,  # type: ignore[arg-type] # the fields are those of the message
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(out: io.StringIO, act: Callable[[EventLines], None]) -> list[str]:
    with EventLines(out) as lines:
        act(lines)
    return out.getvalue().splitlines()


def test_a_person_sees_flow_status_time_and_result() -> None:
    end = ended(execution_pb2.STATUS_COMPLETED, result=b'{"greeting":"Hello"}')

    [line] = printed(Terminal(), lambda lines: lines.ended(EVENT, end))

    assert "hello" in line
    assert "completed" in line
    assert "2.5 ms" in line
    assert '{"greeting":"Hello"}' in line


def test_a_person_sees_why_an_event_failed() -> None:
    end = ended(execution_pb2.STATUS_FAILED, step="call", reason="X answered 401")

    [line] = printed(Terminal(), lambda lines: lines.ended(EVENT, end))

    assert "at call: X answered 401" in line


def test_every_end_has_a_line() -> None:
    statuses = [
        execution_pb2.STATUS_SKIPPED,
        execution_pb2.STATUS_CANCELLED,
        execution_pb2.STATUS_DUPLICATE,
        execution_pb2.STATUS_FILTERED,
        execution_pb2.STATUS_COMPLETED,
    ]

    def end_all(lines: EventLines) -> None:
        for status in statuses:
            lines.ended(EVENT, ended(status))

    for_people = printed(Terminal(), end_all)
    for_programs = printed(io.StringIO(), end_all)

    words = ["skipped", "cancelled", "duplicate", "filtered", "completed"]
    assert [line.split()[2] for line in for_people] == words
    assert [json.loads(line)["status"] for line in for_programs] == words


def test_what_a_sender_wrote_does_not_steer_the_terminal() -> None:
    end = ended(execution_pb2.STATUS_FAILED, reason="\x1b[31mred\nline")

    [line] = printed(Terminal(), lambda lines: lines.ended(EVENT, end))

    assert "\x1b" not in line


def test_programs_get_json_without_bodies() -> None:
    end = ended(execution_pb2.STATUS_COMPLETED, result=b'"secret body"')

    [line] = printed(io.StringIO(), lambda lines: lines.ended(EVENT, end))

    assert json.loads(line) == {
        "event": "e-1",
        "flow": "hello",
        "status": "completed",
        "accepted_at_us": 1_000_000,
        "ms": 2.5,
        "attempts": 1,
    }


def test_sentences_are_for_people_and_facts_for_programs() -> None:
    def say(lines: EventLines) -> None:
        lines.say("only for people")
        lines.say("for both", hook="url")

    assert printed(Terminal(), say) == ["only for people", "for both"]
    assert printed(io.StringIO(), say) == ['{"hook":"url"}']


def test_a_reader_that_does_not_read_holds_nobody() -> None:
    """What does not fit meanwhile is counted, and said later."""
    reading = threading.Event()
    held = threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            held.set()
            reading.wait(10)
            return super().write(text)

    out = Slow()
    with EventLines(out) as lines:
        lines.say("", first=True)
        held.wait(10)
        for number in range(MOST_WAITING + 5):
            lines.say("", n=number)
        reading.set()

    assert out.getvalue().splitlines()[-1] == '{"lines_left_out":5}'
    assert len(out.getvalue().splitlines()) == MOST_WAITING + 2


def test_a_reader_that_has_left_stops_nobody() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    with EventLines(Gone()) as lines:
        lines.say("", a=1)
        lines.say("", b=2)
