"""Power cuts of the embedded log: what was accepted is there when the power is back."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import apsw  # noqa: TID251 - a fault is planted in how SQLite is asked to write
import pytest

from hookline.log.sqlite_store import Store
from tests.faults.power_cuts import lost_by_cuts

SEEDS = 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_power_cut_loses_nothing_that_was_accepted(
    tmp_path: Path, seed: int
) -> None:
    """Whatever was not synced is lost, torn or trash; the file opens clean each time."""
    assert await lost_by_cuts(tmp_path, seed) == 0


class Unchecked:
    """A connection that makes no checkpoint."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Any:
        return self._connection.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        return self._connection.__exit__(kind, error, traceback)

    def wal_checkpoint(self, **_: Any) -> None:
        """Leave it."""


PREPARE = Store._prepare


def commit_lazily(self: Store, connection: apsw.Connection) -> None:
    """Commits are not synced."""
    PREPARE(self, connection)
    connection.execute("PRAGMA synchronous = NORMAL")


def open_at_once(self: Store, connection: apsw.Connection) -> None:
    """What a crash has left in the WAL is built upon before it is synced."""
    PREPARE(self, cast("apsw.Connection", Unchecked(connection)))
    self._connection = connection


@pytest.mark.slow
@pytest.mark.parametrize("planted", [commit_lazily, open_at_once])
async def test_a_log_that_syncs_too_little_is_caught(
    planted: Callable[[Store, apsw.Connection], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative controls: accepted records are lost, by one seed or another."""
    monkeypatch.setattr(Store, "_prepare", planted)
    for seed in range(10 * SEEDS):
        place = tmp_path / f"{seed}"
        place.mkdir()
        if await lost_by_cuts(place, seed):
            return
    pytest.fail("nothing was lost")
