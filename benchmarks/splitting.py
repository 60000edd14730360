"""A component that makes many messages of one, installed beside the product.

As anybody's would be: a distribution of its own, with an entry point.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hookline.components import Effect, Parameters, Resources
from hookline.event import Message

METADATA = "Metadata-Version: 2.1\nName: splitting\nVersion: 1\n"
ENTRY_POINT = "[hookline.components]\nsplitting = benchmarks.splitting:Splitting\n"


class Splitting:
    """Makes `into` messages of one, each with the whole body."""

    class Parameters(Parameters):
        into: int

    effect: ClassVar[Effect] = Effect.PURE

    def __init__(self, parameters: Parameters, _resources: Resources) -> None:
        self._into = parameters.into

    async def run(self, message: Message) -> Sequence[Message]:
        return [message] * self._into


def install(directory: Path) -> str:
    """Write the distribution; gives the PYTHONPATH with which it is found."""
    place = directory / "splitting-1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(METADATA)
    (place / "entry_points.txt").write_text(ENTRY_POINT)
    return f"{directory}:{Path(__file__).parent.parent}"
