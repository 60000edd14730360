"""Sends a case on a connection of its own, and gives what comes until its end."""

import asyncio
from contextlib import suppress
from typing import Final

from tests.fuzz.cases import Case
from tests.fuzz.judge import Answer, Wrong, answers_in

# Beyond it a connection hangs. The product's own deadlines are far shorter in these runs.
PATIENCE_S: Final = 20.0
# A connection in step that has been answered may wait for more: it is left then.
QUIET_S: Final = 2.5
HEAD_TIMEOUT_S: Final = 1.0


async def answers_to(address: str, case: Case) -> list[Answer]:
    """Send it, and read to the end. Raises Wrong."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    received = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(
                _send(writer, case), _receive(reader, writer, case, received)
            )
    except TimeoutError as error:
        raise Wrong(f"it hangs, after {bytes(received[-200:])!r}") from error
    finally:
        writer.transport.abort()
    return answers_in(bytes(received), case.sent)


async def _send(writer: asyncio.StreamWriter, case: Case) -> None:
    # What is refused in the middle may be cut off there.
    with suppress(ConnectionError):
        for piece in case.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)


async def _receive(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    case: Case,
    received: bytearray,
) -> None:
    with suppress(ConnectionError):
        while not _is_complete(case, received):
            try:
                async with asyncio.timeout(QUIET_S):
                    piece = await reader.read(65_536)
            except TimeoutError:
                if not received or not writer.can_write_eof():
                    continue
                writer.write_eof()
                continue
            if not piece:
                return
            received += piece


def _is_complete(case: Case, received: bytearray) -> bool:
    """Whether all right answers are there; else only the connection's end tells."""
    if not case.sent or not received.endswith((b"}", b"\r\n\r\n")):
        return False
    with suppress(Wrong):
        return len(answers_in(bytes(received), case.sent)) >= len(case.sent)
    return False
