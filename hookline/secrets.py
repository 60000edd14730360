"""Secrets by name: from the environment, or from files in a directory."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hookline.errors import MissingSecret

NAME = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
REFERENCE = re.compile(r"\$\{secret:([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Looks secrets up: `HOOKLINE_SECRET_<NAME>`, then a file `<NAME>` in the directory.

    A file's trailing line end is not part of the secret.
    """

    environment: Mapping[str, str]
    directory: Path | None = None

    def get(self, name: str) -> str:
        """The secret. Raises MissingSecret."""
        value = self.environment.get(f"HOOKLINE_SECRET_{name}")
        if value is None and self.directory is not None and NAME.fullmatch(name):
            value = _content(self.directory / name)
        if not value:
            raise MissingSecret(name)
        return value

    def missing(self, names: frozenset[str]) -> tuple[str, ...]:
        """Those of the names that are nowhere to be found, sorted."""
        return tuple(name for name in sorted(names) if not self._has(name))

    def _has(self, name: str) -> bool:
        try:
            return bool(self.get(name))
        except MissingSecret:
            return False

    def __repr__(self) -> str:
        return "Secrets(…)"


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        return None
