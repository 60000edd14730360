"""kill -9 in mid-commit, some hundred times on one file: what was told durable is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SEED = 20261130
ROUNDS = 200


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_durable_is_lost_by_two_hundred_kills_in_mid_commit(
    tmp_path: Path,
) -> None:
    """Each next start opens clean; some kills came between the disk and the answer."""
    words = ("-m", "tests.faults.mid_commit", str(tmp_path / "data"), str(SEED))
    done = subprocess.run(
        [sys.executable, *words, str(ROUNDS)], stdout=subprocess.PIPE, check=True
    )
    told = json.loads(done.stdout)

    assert told["lost"] == 0
    assert told["records"] > ROUNDS
    assert told["in_midst"] > ROUNDS / 20
