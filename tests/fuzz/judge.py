"""Judges what comes back on a connection: well-formed, allowed, and where known right."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.fuzz.requests import Sent

# Every status of the contract that a sender without a deliberate flow can meet.
ALLOWED: Final = frozenset(
    {200, 204, 400, 401, 404, 405, 408, 413, 415, 417, 422, 429, 431, 503}
)
STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) [\x20-\x7e]*")
HEADER: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)"
)
WITHOUT_BODY: Final = (204, 304)


class Wrong(Exception):
    """The product did what it must never do; the text says what."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def answers_in(received: bytes, sent: Sequence[Sent]) -> list[Answer]:
    """The answers in what has come. Raises Wrong where they are not well-formed."""
    answers: list[Answer] = []
    while received:
        known = sent[len(answers)].body_of_answer if len(answers) < len(sent) else None
        answer, received = _first(received, has_body=known)
        if answer.status >= 200:
            answers.append(answer)
    return answers


def _first(received: bytes, *, has_body: bool | None) -> tuple[Answer, bytes]:
    head, end, rest = received.partition(b"\r\n\r\n")
    if not end:
        raise Wrong(f"an answer's head has no end: {received[:200]!r}")
    first, *lines = head.split(b"\r\n")
    status_line = STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise Wrong(f"this is no status line: {first!r}")
    status, headers = int(status_line[1]), _headers(lines)
    if has_body is None:
        has_body = not _answers_head(headers, rest)
    if status < 200 or status in WITHOUT_BODY or not has_body:
        return Answer(status, headers, b""), rest
    size = headers.get("content-length", "")
    if not size.isdecimal() or len(rest) < int(size):
        raise Wrong(f"{len(rest)} of {size!r} bytes of the body came: {head!r}")
    return Answer(status, headers, rest[: int(size)]), rest[int(size) :]


def _answers_head(headers: Mapping[str, str], rest: bytes) -> bool:
    """Whether this must be the answer to a HEAD, of which nothing is known here."""
    return "content-length" not in headers or rest[:5] in (b"", b"HTTP/")


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        found = HEADER.fullmatch(line)
        if found is None:
            raise Wrong(f"this is no header: {line!r}")
        headers[found[1].decode().lower()] = found[2].decode("latin-1")
    return headers


def judge(answers: Sequence[Answer], sent: Sequence[Sent]) -> None:
    """Raise Wrong where an answer is none that may be given, or not the right one."""
    for answer in answers:
        _judge_one(answer)
    if not sent:
        return
    statuses = [answer.status for answer in answers]
    # The product may always say that it cannot now, and then all else is open.
    if 503 in statuses:
        return
    right = [one.status for one in sent]
    if len(right) != len(statuses) or not all(map(_is_right, right, statuses)):
        raise Wrong(f"{right} was right, {statuses} came")


def _is_right(right: int, came: int) -> bool:
    """Whoever is wrong too often is told so."""
    return came == right or (right, came) == (401, 429)


def _judge_one(answer: Answer) -> None:
    if answer.status not in ALLOWED:
        raise Wrong(f"{answer.status} is no status of ours: {answer.body!r}")
    if answer.status == 503 and "retry-after" not in answer.headers:
        raise Wrong(f"503 came without Retry-After: {answer.headers}")
    if answer.status >= 400 and answer.body:
        problem = msgspec.json.decode(answer.body)
        if problem["status"] != answer.status or not problem["detail"]:
            raise Wrong(f"this is not the problem of a {answer.status}: {problem}")
