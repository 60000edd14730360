"""Power cuts of the embedded log: what was accepted is there when the power is back."""

from pathlib import Path

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
    """Whatever was not synced is lost or torn; the file opens clean each time."""
    assert await lost_by_cuts(tmp_path, seed) == 0


@pytest.mark.slow
async def test_a_log_that_does_not_sync_its_commits_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: with synchronous=NORMAL accepted records are lost."""
    prepare = Store._prepare

    def lazily(self: Store, connection: apsw.Connection) -> None:
        prepare(self, connection)
        connection.execute("PRAGMA synchronous = NORMAL")

    monkeypatch.setattr(Store, "_prepare", lazily)
    places = [tmp_path / f"{seed}" for seed in range(10)]
    for place in places:
        place.mkdir()
    assert sum([await lost_by_cuts(one, seed) for seed, one in enumerate(places)])
