"""What a part of a form is called: its field, its file, and the file's safe name."""

import mimetypes
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header

LONGEST_NAME: Final = 255
LONGEST_EXTENSION: Final = 31
EXTENDED_NAME: Final = re.compile(
    r";\s*filename\*\s*=\s*([\w-]*)'[^';]*'([^;\s]+)", re.ASCII | re.IGNORECASE
)
BROWSER_ESCAPE: Final = re.compile(rb"%(22|0D|0A)", re.IGNORECASE)
# Control characters, and those that turn the direction in which a name is read.
UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def names_in(disposition: str) -> tuple[str, str | None]:
    """The field's name and the file's, if it is one."""
    # As bytes they are read as Latin-1 and come back as they were.
    _, options = parse_options_header(disposition.encode())
    name = text_of(_unescaped(options.get(b"name", b"")))
    if b"filename" in options:
        return name, text_of(_unescaped(options[b"filename"]))
    if extended := EXTENDED_NAME.search(disposition):
        return name, text_of(unquote_to_bytes(extended[2]))
    return name, None


def _unescaped(value: bytes) -> bytes:
    return BROWSER_ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), value)


def text_of(value: bytes) -> str:
    """UTF-8, else Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def is_field(content_type: str) -> bool:
    """Whether a part of this type is a field, where it names no file."""
    kind = content_type.partition(";")[0].strip().lower()
    return not kind or kind.startswith("text/") or kind.endswith(("json", "xml"))


def extension_of(content_type: str) -> str:
    """The usual extension of a type, with its dot."""
    return mimetypes.guess_extension(content_type.partition(";")[0].strip()) or ".bin"


def safe_name(file_name: str) -> str:
    """A file's name without a path and without what no name should have."""
    name = UNSAFE.sub("", re.split(r"[/\\]", file_name)[-1]).strip().lstrip(".")
    if not name:
        return "file"
    stem, extension = _split(name)
    return stem[: LONGEST_NAME - len(extension)] + extension


def _split(name: str) -> tuple[str, str]:
    """A file's name before its extension, and the extension with its dot."""
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > LONGEST_EXTENSION:
        return name, ""
    return stem, dot + extension


def unique_name(name: str, taken: dict[str, int]) -> str:
    """The name; where it is taken with -2, or the next number, before its extension.

    `taken` holds names with the last number given to each, and gets the new one.
    """
    stem, extension = _split(name)
    unique = name
    while unique in taken:
        taken[name] += 1
        unique = f"{stem}-{taken[name]}{extension}"
    taken[unique] = 1
    return unique
