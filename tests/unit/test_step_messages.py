"""What the journal keeps of a message's files, and what comes back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from hookline.errors import TerminalError, Unavailable
from hookline.event import Attachment, InMemory
from hookline.v1 import execution_pb2
from services.executor.step_messages import MOST_BYTES, keep, restore
from tests.builders import message


@dataclass
class Away:
    """Content in a store that is out of reach."""

    size: int = 10
    sha256: str = ""

    async def read(self) -> AsyncIterator[bytes]:
        """Raise Unavailable."""
        yield await self.whole(0)

    async def whole(self, limit: int) -> bytes:
        """Raise Unavailable."""
        raise Unavailable(f"{limit} bytes are out of reach")


FILE = Attachment("application/pdf", Away())
FIRST = message({"n": 0}, attachments={"file": FILE})


@pytest.mark.parametrize("name", ["file", "renamed"])
async def test_a_file_of_the_event_is_named_and_not_read(name: str) -> None:
    """Whatever its name is by now, wherever its bytes are."""
    kept = await keep(FIRST.derive(attachments={name: FILE}), FIRST)
    kept = execution_pb2.StepMessage.FromString(kept.SerializeToString())

    assert restore(kept, FIRST).attachments == {name: FILE}
    assert kept.ByteSize() < 50


async def test_a_file_that_a_step_has_made_is_kept_whole() -> None:
    """It comes back as it was, also under the name of one of the event's."""
    made = {"file": Attachment("image/png", InMemory(b"\x89PNG"))}
    kept = await keep(FIRST.derive(attachments=made), FIRST)

    assert restore(kept, FIRST).attachments == made


async def test_a_file_that_is_too_large_to_keep_is_not_read() -> None:
    """The step's own files are bounded; the event's are not."""
    made = {"own": Attachment("", InMemory(bytes(MOST_BYTES + 1)))}
    with pytest.raises(TerminalError, match="too many"):
        await keep(FIRST.derive(attachments=made), FIRST)


async def test_a_file_out_of_reach_is_no_failure_of_the_step() -> None:
    """Whoever keeps it tries again."""
    made = {"own": Attachment("", Away())}
    with pytest.raises(Unavailable):
        await keep(FIRST.derive(attachments=made), FIRST)
