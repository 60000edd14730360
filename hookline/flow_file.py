"""Reads flow files: YAML or JSON, every mistake at once, with file, line and field."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import ComposerError
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hookline.event import Value
from hookline.flow import Flow
from hookline.mistakes import Place, sentences

MOST_BYTES = 1_000_000
Check = Callable[[Flow], Iterable[tuple[Place, str]]]


@dataclass(frozen=True, slots=True)
class FlowFile:
    """A file as it was read; the name is for messages."""

    file_name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong where; line 0 is the file as a whole."""

    file_name: str
    line: int
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class ReadFlow:
    """A flow without a mistake: as its file says it, and as a model."""

    file_name: str
    definition: Value
    flow: Flow


class _NotAFlow(Exception):
    def __init__(self, line: int, text: str) -> None:
        self.line = line
        self.text = text


def read_flows(
    files: Sequence[FlowFile], check: Check
) -> tuple[list[ReadFlow], list[Mistake]]:
    """Read files; the flows without a mistake, and all mistakes of the others.

    `check` tells the mistakes in a flow's steps. Of two files with one flow id, the
    second has a mistake.
    """
    flows: dict[str, ReadFlow] = {}
    mistakes: list[Mistake] = []
    for file in files:
        read, found = read_flow(file, check)
        mistakes += found
        if read is None:
            continue
        if other := flows.get(read.flow.id):
            text = f"{other.file_name} has a flow {read.flow.id!r} already"
            mistakes.append(Mistake(file.file_name, 0, "id", text))
        else:
            flows[read.flow.id] = read
    return list(flows.values()), mistakes


def read_flow(file: FlowFile, check: Check) -> tuple[ReadFlow | None, list[Mistake]]:
    """Read one file: the flow, or the mistakes."""
    try:
        document = _load(file.content)
    except _NotAFlow as error:
        return None, [Mistake(file.file_name, error.line, "", error.text)]
    definition = _plain(document)
    try:
        flow = Flow.model_validate(definition)
    except ValidationError as error:
        found = list(sentences(Flow, error))
    else:
        found = list(check(flow))
        if not found:
            return ReadFlow(file.file_name, definition, flow), []
    return None, [
        Mistake(
            file.file_name,
            _line_of(document, place),
            ".".join(map(str, _as_written(document, place))),
            text,
        )
        for place, text in sorted(found, key=lambda one: _line_of(document, one[0]))
    ]


def _load(content: bytes) -> CommentedMap:
    if len(content) > MOST_BYTES:
        raise _NotAFlow(0, f"a flow file has at most {MOST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _NotAFlow(line, "the file is not UTF-8") from error
    yaml = YAML(typ="rt", pure=True)
    try:
        document = yaml.load(StringIO(text))
    except (YAMLError, ValueError, RecursionError) as error:
        raise _syntax(error) from error
    if not isinstance(document, CommentedMap):
        raise _NotAFlow(0, "a flow file is an object with id, trigger and steps")
    return document


def _syntax(error: Exception) -> _NotAFlow:
    line = 0
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        line = error.problem_mark.line + 1
    match error:
        case DuplicateKeyError():
            text = f"{str(error.problem).partition(' with value')[0]}: name it once"
        case ComposerError() if "single document" in str(error.context):
            text = "there is more than one flow in the file: write a file for each"
        case MarkedYAMLError():
            text = f"this is not YAML: {error.problem}"
        case _:
            text = f"this is not YAML: {error}".partition("\n")[0]
    return _NotAFlow(line, text)


def _plain(value: Any, depth: int = 0) -> Value:  # noqa: PLR0911 - a table
    """The value in plain types; aliases are written out, within a bound on depth."""
    if depth > 100:  # noqa: PLR2004 - no flow file is as deep
        return None
    match value:
        case CommentedMap():
            return {str(key): _plain(item, depth + 1) for key, item in value.items()}
        case CommentedSeq():
            return [_plain(item, depth + 1) for item in value]
        case bool() | None:
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case _:
            return str(value)


def _as_written(document: Any, place: Place) -> Place:
    """The place without the numbers of lists that the file writes as one value."""
    written: list[str | int] = []
    for part in place:
        if isinstance(part, int) and not isinstance(document, CommentedSeq):
            continue
        written.append(part)
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            document = None
    return tuple(written)


def _line_of(document: Any, place: Place) -> int:
    """The line of a field, or of the nearest thing around it, from 1."""
    line = 0
    for part in _as_written(document, place):
        try:
            if isinstance(document, CommentedMap):
                line = document.lc.key(part)[0]
            elif isinstance(document, CommentedSeq):
                line = document.lc.item(part)[0]
            else:
                break
            document = document[part]
        except (KeyError, IndexError, TypeError):
            break
    return line + 1
