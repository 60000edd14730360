"""The index of executions: the same rows, however the topics are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.claims import Claim
from hookline.log import Record
from hookline.topics import Topics
from hookline.v1 import event_pb2, execution_pb2
from services.console import index_queries as queries
from services.console.filling import Filling
from services.console.index_file import FILE_NAME, IndexFile, Key, open_index
from services.console.index_queries import BadFilter, Page
from services.console.index_rows import packed_id, place_of, unpacked_id

Entry = execution_pb2.JournalEntry
Progress = execution_pb2.ExecutionProgress
Filter = execution_pb2.EventFilter
TOPICS = Topics.with_partitions(2)
EVENTS = 4
PENDING = execution_pb2.STATUS_PENDING
COMPLETED = execution_pb2.STATUS_COMPLETED
FAILED = execution_pb2.STATUS_FAILED
HELD = execution_pb2.STATUS_HELD


def event_id(partition: int, offset: int) -> str:
    return f"01890a5d-0000-7000-8000-{partition:06d}{offset:06d}"


def event(partition: int, offset: int, replayed: str = "") -> event_pb2.Event:
    return event_pb2.Event(
        id=event_id(partition, offset),
        flow_id=f"flow-{partition}",
        flow_version=1,
        accepted_at_us=1_000_000 + offset * 10 + partition,
        replayed=replayed,
    )


def ended(offset: int, status: int, reason: str = "") -> Entry:
    return Entry(
        event_offset=offset,
        ended=execution_pb2.ExecutionEnded(
            status=execution_pb2.Status.ValueType(status),
            ended_at_us=5,
            attempts=2,
            reason=reason,
        ),
    )


def failed(offset: int, number: int, error: str = "no answer") -> Entry:
    attempt = execution_pb2.AttemptFailed(
        step="call", attempt=number, next_at_us=77, error=error
    )
    return Entry(event_offset=offset, progress=Progress(number=number, failed=attempt))


def held(offset: int, number: int) -> Entry:
    kept = execution_pb2.Held(step="call", reason="wrong", attempts=3, held_at_us=9)
    return Entry(event_offset=offset, progress=Progress(number=number, held=kept))


def claimed() -> Entry:
    return Entry(claim=execution_pb2.Claim(claimed_at_us=1))


def stamped(entry: Entry, claim: Claim) -> Entry:
    entry.epoch, entry.owner = claim
    return entry


def letter(partition: int, offset: int, reason: str) -> execution_pb2.DeadLetter:
    return execution_pb2.DeadLetter(
        event=event(partition, offset),
        event_offset=offset,
        step="call",
        reason=reason,
        failed_at_us=100 + offset,
    )


Streams = dict[Key, list[Record]]


def stream(partition: int, values: list[bytes]) -> list[Record]:
    return [
        Record(partition, offset, 1, b"key", value)
        for offset, value in enumerate(values)
    ]


def serialized(messages: list[Entry]) -> list[bytes]:
    return [one.SerializeToString() for one in messages]


@st.composite
def journals(draw: st.DrawFn) -> list[bytes]:
    """Of owners that follow one another, who may go on writing in vain; with repeats."""
    entries: list[Entry] = []
    claims: list[Claim] = []
    numbers: dict[int, int] = {}
    for kind in draw(
        st.lists(
            st.sampled_from(["claim", "end", "fail", "hold", "repeat"]), max_size=20
        )
    ):
        offset = draw(st.integers(0, EVENTS - 1))
        if kind == "claim" or not claims:
            claims.append(Claim(len(claims) + 1, draw(st.integers(1, 2))))
            entries.append(stamped(claimed(), claims[-1]))
            continue
        claim = draw(st.sampled_from(claims))
        numbers[offset] = number = numbers.get(offset, 0) + 1
        match kind:
            case "end":
                status = draw(st.sampled_from([COMPLETED, FAILED]))
                entries.append(stamped(ended(offset, status, f"end {number}"), claim))
            case "fail":
                entries.append(stamped(failed(offset, number), claim))
            case "hold":
                entries.append(stamped(held(offset, number), claim))
            case _:
                entries.append(draw(st.sampled_from(entries)))
    return serialized(entries)


@st.composite
def all_streams(draw: st.DrawFn) -> Streams:
    streams: Streams = {}
    for partition in range(2):
        events = [
            event(partition, offset).SerializeToString() for offset in range(EVENTS)
        ]
        letters = [
            letter(
                partition, draw(st.integers(0, EVENTS - 1)), f"letter {number}"
            ).SerializeToString()
            for number in range(draw(st.integers(0, 3)))
        ]
        streams["events", partition] = stream(partition, [*events, b"\xff no event"])
        streams["executions", partition] = stream(partition, draw(journals()))
        streams["dead_letters", partition] = stream(partition, letters)
    return streams


@dataclass
class Index:
    """An index in a directory, which may be closed and opened again at any time."""

    directory: Path
    files: tuple[IndexFile, IndexFile] = field(init=False)
    filling: Filling = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.files = open_index(self.directory, "a log")
        self.filling = Filling(self.files[0], TOPICS)
        self.filling.begin()

    def close(self) -> None:
        for one in self.files:
            one.close()

    def take(self, streams: Streams, key: Key, most: int = 1_000) -> None:
        """Read so many of a partition's next records."""
        at = self.filling.next(key)
        if records := streams[key][at : at + most]:
            self.filling.take([(key, records)], {})

    def rows(self) -> list[object]:
        """All that it holds."""
        tables = ("events", "happened", "letters")
        return [
            self.files[1].ask(f"SELECT * FROM {table} ORDER BY 1, 2", ())  # noqa: S608
            for table in tables
        ]


@contextmanager
def index() -> Iterator[Index]:
    with TemporaryDirectory() as directory:
        made = Index(Path(directory))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Index, Index]]:
    """Two indexes for many examples, each of which begins anew."""
    with index() as first, index() as second:
        yield first, second


@given(streams=all_streams(), data=st.data())
def test_any_order_of_reading_gives_the_same_rows(
    two: tuple[Index, Index], streams: Streams, data: st.DataObject
) -> None:
    """One topic before another, in batches of any size, with restarts in between."""
    straight, mixed = two
    straight.filling.begin_anew()
    mixed.filling.begin_anew()
    for key in streams:
        straight.take(streams, key)
    unread = set(streams)
    while unread:
        key = data.draw(st.sampled_from(sorted(unread)))
        mixed.take(streams, key, data.draw(st.integers(1, 5)))
        unread -= {
            one for one in unread if mixed.filling.next(one) == len(streams[one])
        }
        if data.draw(st.booleans()):
            mixed.filling = Filling(mixed.files[0], TOPICS)
            mixed.filling.begin()

    assert mixed.rows() == straight.rows()


@given(streams=all_streams())
def test_the_rows_are_those_of_a_plain_reading(
    two: tuple[Index, Index], streams: Streams
) -> None:
    """An end before all else, of ends the first, else the newest that counts."""
    made, _ = two
    made.filling.begin_anew()
    for key in streams:
        made.take(streams, key)
    for partition in range(2):
        stands = _plainly(streams["executions", partition])
        for offset in range(EVENTS):
            row = queries.find(made.files[1], event_id(partition, offset))
            assert row is not None
            found = Status(row.status, row.reason or "")
            assert found == stands.get(offset, Status(PENDING, ""))


def test_what_is_kept_is_there_after_a_restart() -> None:
    """With how far was read, and the claim that held there."""
    claim = Claim(1, 2**63 + 1)
    journal = [stamped(claimed(), claim), stamped(ended(0, COMPLETED), claim)]
    key: Key = ("executions", 0)
    with index() as made:
        made.take({key: stream(0, serialized(journal))}, key)
        rows = made.rows()
        made.close()
        made.open()

        assert made.rows() == rows
        assert made.files[0].positions() == {key: (2, claim)}


@dataclass(frozen=True)
class Status:
    status: int
    reason: str


def _plainly(journal: list[Record]) -> dict[int, Status]:
    """The same, as slowly as one would write it down."""
    holds = Claim(0, 0)
    ends: dict[int, Status] = {}
    stands: dict[int, tuple[int, Status]] = {}
    for record in journal:
        entry = Entry.FromString(record.value or b"")
        claim = Claim.of(entry)
        if entry.HasField("claim"):
            holds = claim if claim.epoch > holds.epoch else holds
        elif claim == holds and entry.HasField("ended"):
            status = Status(entry.ended.status, entry.ended.reason)
            ends.setdefault(entry.event_offset, status)
        elif claim == holds:
            progress = entry.progress
            status = Status(PENDING, progress.failed.error)
            if progress.HasField("held"):
                status = Status(HELD, progress.held.reason)
            number, _ = stands.get(entry.event_offset, (0, status))
            if progress.number > number:
                stands[entry.event_offset] = progress.number, status
    return {offset: status for offset, (_, status) in stands.items()} | ends


def test_an_end_that_is_read_before_its_event_is_shown_with_it() -> None:
    """Until then there is no line of it: nobody knows whose event it is."""
    streams: Streams = {
        ("events", 0): stream(0, [event(0, 0).SerializeToString()]),
        ("executions", 0): stream(0, serialized([ended(0, COMPLETED)])),
    }
    with index() as made:
        made.take(streams, ("executions", 0))
        before = listed(made)
        made.take(streams, ("events", 0))
        after = listed(made)

    assert before == []
    assert after == [(event_id(0, 0), COMPLETED)]


def listed(made: Index, wanted: Filter | None = None) -> list[tuple[str, int]]:
    found = queries.events(
        made.files[1], wanted or execution_pb2.EventFilter(), Page.behind(""), 100
    )
    return [(one.event_id, one.status) for one in found]


@pytest.fixture
def filled() -> Iterator[Index]:
    """Events in both partitions, one of each state, and dead letters."""
    journal = [ended(0, COMPLETED), failed(1, 1, "100% wrong"), held(2, 1)]
    streams: Streams = {}
    for partition in range(2):
        values = [event(partition, offset).SerializeToString() for offset in range(3)]
        values.append(
            event(partition, 3, replayed=event_id(partition, 0)).SerializeToString()
        )
        streams["events", partition] = stream(partition, values)
        streams["executions", partition] = stream(partition, serialized(journal))
        letters = [letter(partition, offset, f"why {offset}") for offset in range(2)]
        streams["dead_letters", partition] = stream(
            partition, [one.SerializeToString() for one in letters]
        )
    with index() as made:
        for key in streams:
            made.take(streams, key)
        yield made


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [(3, 1), (3, 0), (2, 1), (2, 0), (1, 1), (1, 0), (0, 1), (0, 0)]),
        (Filter(flow_id="flow-1"), [(3, 1), (2, 1), (1, 1), (0, 1)]),
        (Filter(statuses=[COMPLETED]), [(0, 1), (0, 0)]),
        (Filter(statuses=[HELD, COMPLETED]), [(2, 1), (2, 0), (0, 1), (0, 0)]),
        (Filter(statuses=[HELD], flow_id="flow-0"), [(2, 0)]),
        (Filter(since_us=1_000_020), [(3, 1), (3, 0), (2, 1), (2, 0)]),
        (Filter(before_us=1_000_001), [(0, 0)]),
        (Filter(event_ids=[event_id(1, 2), "none"]), [(2, 1)]),
        (Filter(text="0% WRO"), [(1, 1), (1, 0)]),
        (Filter(text="0_"), []),
        (Filter(not_replayed=True, before_us=1_000_019), [(1, 1), (1, 0)]),
    ],
)
def test_filters_find_what_they_say(
    filled: Index, wanted: Filter, found: list[tuple[int, int]]
) -> None:
    """Newest first, of all partitions."""
    assert [one for one, _ in listed(filled, wanted)] == [
        event_id(partition, offset) for offset, partition in found
    ]


def test_pages_hold_every_event_once(filled: Index) -> None:
    """Page by page, each from the token of the one before."""
    token, ids = "", []
    while True:
        page = queries.events(filled.files[1], Filter(), Page.behind(token), 3)
        if not page:
            break
        ids += [one.event_id for one in page]
        token = Page(page[-1].accepted_at_us, page[-1].place).token

    assert ids == [one for one, _ in listed(filled)]


@pytest.mark.parametrize(
    "token", ["soon", "1", "1.2.3", "-1.2", f"1.{2**63}", f"{10**30}.1", "1" * 5000]
)
def test_a_token_that_is_none_of_ours_is_told(token: str) -> None:
    """It is the caller's mistake."""
    with pytest.raises(BadFilter, match="next_page_token"):
        Page.behind(token)


@pytest.mark.parametrize("letter_id", ["1/2", "9999/1", f"1/{10**30}", f"{10**9}/1"])
def test_a_place_without_a_letter_finds_none(filled: Index, letter_id: str) -> None:
    """However far out it is."""
    assert queries.find_letter(filled.files[1], letter_id) is None


def test_dead_letters_are_found_by_their_events_and_with_their_replays(
    filled: Index,
) -> None:
    """What failed last comes first; those that were replayed can be left out."""
    reading = filled.files[1]

    every = queries.letters(reading, Filter(), Page.behind(""), 10)
    open_ones = queries.letters(reading, Filter(not_replayed=True), Page.behind(""), 10)
    one = queries.find_letter(reading, event_id(0, 1))
    replays = queries.replays(reading, [one.packed_id for one in every])

    assert [one.reason for one in every] == ["why 1", "why 1", "why 0", "why 0"]
    assert [one.reason for one in open_ones] == ["why 1", "why 1"]
    assert one is not None
    assert (one.id, one.reason) == (event_id(0, 1), "why 1")
    assert replays[packed_id(event_id(1, 0))] == [(event_id(1, 3), PENDING)]


def test_rows_of_events_that_are_gone_go_too(filled: Index) -> None:
    """Of one partition, before an offset; and none comes back from the journal."""
    writing, _ = filled.files

    assert writing.forget_events(1, 2, 1)
    while writing.forget_events(1, 2, 1):
        pass
    late = stream(1, [b""] * 3 + serialized([ended(0, COMPLETED), ended(3, FAILED)]))
    filled.filling.take([(("executions", 1), late[3:])], {1: 2})

    assert [one for one, _ in listed(filled, Filter(flow_id="flow-1"))] == [
        event_id(1, 3),
        event_id(1, 2),
    ]
    places = filled.files[1].ask(
        "SELECT place FROM events WHERE place >= ?", (place_of(1, 0),)
    )
    assert places == [(place_of(1, 2),), (place_of(1, 3),)]


def test_an_index_of_another_log_or_a_broken_one_is_made_anew(tmp_path: Path) -> None:
    """It holds nothing that is not in the log."""
    key: Key = ("events", 0)
    records = stream(0, [event(0, 0).SerializeToString()])
    for name, is_broken in (("another log", False), ("a log", True)):
        first = open_index(tmp_path, "a log")
        Filling(first[0], TOPICS).take([(key, records)], {})
        for one in first:
            one.close()
        if is_broken:
            (tmp_path / FILE_NAME).write_bytes(b"no SQLite at all" * 100)
        again = open_index(tmp_path, name)
        assert again[0].positions() == {}
        for one in again:
            one.close()


@given(st.uuids() | st.text())
def test_ids_are_packed_without_loss(value: object) -> None:
    """UUIDs to sixteen bytes; whatever else there is stays text."""
    text = str(value)
    if len(text.encode(errors="replace")) == 16:
        return  # no id of ours

    assert unpacked_id(packed_id(text)) == text.encode(errors="replace").decode()
