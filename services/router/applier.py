"""Applies flow files: checks all of them, then writes new versions."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from hookline.catalog import Catalog, version_key
from hookline.components.steps import Types, check_steps, secret_names
from hookline.flow import MOST_BODY_BYTES, Flow
from hookline.flow_file import FlowFile, Mistake, ReadFlow, read_flows
from hookline.log import Log
from hookline.mistakes import Place
from hookline.secrets import Secrets
from hookline.topics import Topics
from hookline.v1 import flow_pb2


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying did to one flow."""

    flow_id: str
    version: int
    changed: bool


class Applier:
    """Checks flow files and makes new versions of the flows that have changed."""

    def __init__(
        self,
        catalog: Catalog,
        log: Log,
        topics: Topics,
        secrets: Secrets,
        types: Types,
        *,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        self._catalog = catalog
        self._log = log
        self._topic = topics.flows
        self._secrets = secrets
        self._types = types
        self._most_body_bytes = most_body_bytes
        self._one_at_a_time = asyncio.Lock()

    def check(self, files: Sequence[FlowFile]) -> tuple[list[ReadFlow], list[Mistake]]:
        """Read flow files; all mistakes at once."""
        return read_flows(files, self._check)

    def _check(self, flow: Flow) -> Iterator[tuple[Place, str]]:
        asked = "max_body" in flow.webhook.model_fields_set
        if asked and flow.webhook.max_body > self._most_body_bytes:
            text = (
                f"a body has at most {self._most_body_bytes} bytes here: ask for less, or "
                "have the operator raise HOOKLINE_BODIES__MOST_BYTES"
            )
            yield ("trigger", "webhook", "max_body"), text
        yield from check_steps(flow, self._types)

    def missing_secrets(self, read: ReadFlow) -> tuple[str, ...]:
        """The names of the secrets that a flow needs and that are not to be found."""
        return self._secrets.missing(secret_names(read.flow))

    def has_all(self, names: tuple[str, ...]) -> bool:
        """Whether secrets are there now, by their names."""
        return not self._secrets.missing(frozenset(names))

    async def apply(self, flows: Sequence[ReadFlow]) -> list[Applied]:
        """Make these the current versions; return when this process serves them.

        Raises Unavailable; applying again is safe.
        """
        async with self._one_at_a_time:
            return [await self._apply(read) for read in flows]

    async def _apply(self, read: ReadFlow) -> Applied:
        """Write a version; where another router has taken its number, the next one."""
        definition = msgspec.json.encode(read.definition, order="sorted")
        flow_id = read.flow.id
        changed = False
        while True:
            current = self._catalog.current(flow_id)
            if current is not None and current.definition == definition:
                return Applied(flow_id, current.version, changed=changed)
            version = (current.version if current else 0) + 1
            flow = flow_pb2.Flow(
                id=flow_id,
                version=version,
                name=read.flow.name,
                definition=definition,
                applied_at_us=time.time_ns() // 1000,
            )
            changed = True
            key = version_key(flow_id, version)
            await self._log.append(self._topic, key, flow.SerializeToString())
            await self._catalog.wait_current(flow_id, version)
