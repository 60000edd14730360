"""A data directory that may only be read: said at the start."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hookline.errors import BadConfiguration
from hookline.log import Topic
from hookline.log.sqlite import open_log

EVENTS = Topic("events")
NOBODY = 65534


@contextmanager
def mere_mortal() -> Iterator[None]:
    """Without root's right to write everywhere, where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that anybody may reach; its owner is whoever opens the log."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        directory = Path(outer) / "data"
        directory.mkdir()
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        try:
            yield directory
        finally:
            directory.chmod(0o700)


def allow(directory: Path, mode: int) -> None:
    """What its owner may do with it."""
    directory.chmod(mode)


async def test_a_directory_that_may_only_be_read_is_refused(directory: Path) -> None:
    """With a sentence that names it; nothing is made there."""
    allow(directory, 0o500)

    with mere_mortal(), pytest.raises(BadConfiguration, match="Make it writable"):
        async with open_log(directory, [EVENTS]):
            pass

    assert not os.listdir(directory)  # noqa: PTH208 - as in a loop


async def test_a_log_whose_directory_may_only_be_read_is_refused(
    directory: Path,
) -> None:
    """Its WAL could not be made; what is in it is there when that is mended."""
    with mere_mortal():
        async with open_log(directory, [EVENTS]) as log:
            await log.append(EVENTS, b"k", b"1")
        allow(directory, 0o500)
        with pytest.raises(BadConfiguration, match=str(directory)):
            async with open_log(directory, [EVENTS]):
                pass
        allow(directory, 0o700)
        async with open_log(directory, [EVENTS]) as log:
            found = [r.value async for b in log.read(EVENTS, 0, 0, 9) for r in b]

    assert found == [b"1"]
