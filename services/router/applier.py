"""Applies flow files: checks all of them, then writes new versions."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from hookline.catalog import Catalog
from hookline.components.steps import Types, check_steps, secret_names
from hookline.errors import MissingSecret
from hookline.flow import MOST_BODY_BYTES, Flow
from hookline.flow_file import FlowFile, Mistake, ReadFlow, read_flows
from hookline.flow_records import DELETED, STOPPED, SUSPENDED, State, version_key
from hookline.log import Log
from hookline.mistakes import Place
from hookline.secrets import Secrets
from hookline.topics import Topics
from hookline.v1 import flow_pb2
from services.router.stale_records import take_out_stale

# Flows that are written together: one after another, each would wait for a commit, and
# for a read of it, by itself.
AT_ONCE: Final = 16
HOLDS: Final["dict[State | None, str]"] = {SUSPENDED: "resume", STOPPED: "start"}


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
        # Held from before files are read until they are applied: checking takes a while,
        # and who comes later must not be overwritten by who began earlier.
        self.turn = asyncio.Lock()

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

        What is suspended or stopped stays so; what is deleted comes back.
        Raises Unavailable; applying again is safe.
        """
        async with self._one_at_a_time:
            await self._catalog.catch_up()
            applied: list[Applied] = []
            left = iter(flows)
            while some := list(islice(left, AT_ONCE)):
                # All of them have ended when one fails: nothing is written later.
                done = await asyncio.gather(
                    *map(self._apply, some), return_exceptions=True
                )
                for one in done:
                    if isinstance(one, BaseException):
                        raise one
                    applied.append(one)
            return applied

    async def roll_back(self, read: ReadFlow, version: int) -> Applied:
        """Make the definition of an older version the current one, as a new version.

        Raises Unavailable; rolling back again is safe.
        """
        async with self._one_at_a_time:
            await self._catalog.catch_up()
            return await self._apply(read, rolled_back_to=version)

    async def catch_up(self) -> None:
        """Read what others have applied and decided. Raises Unavailable."""
        await self._catalog.catch_up()

    def version(
        self, flow_id: str, version: int, *, deleted: bool = False
    ) -> flow_pb2.Flow | None:
        """A version of a flow; for 0 the current one, unless the flow is deleted."""
        records = self._catalog.records
        if version:
            return records.version(flow_id, version)
        is_there = deleted or records.state(flow_id) != DELETED
        return records.current(flow_id) if is_there else None

    def version_before(self, flow_id: str) -> int:
        """What a flow is rolled back to where nobody names a version; 0 for nothing.

        The version before the current one; of a deleted flow, its last one.
        """
        records = self._catalog.records
        current = records.current(flow_id)
        if current is None:
            return 0
        if records.state(flow_id) == DELETED:
            return current.version
        return max(1, current.version - 1)

    def read_again(self, stored: flow_pb2.Flow) -> tuple[ReadFlow | None, str]:
        """A stored version as if it were applied now, or why it cannot be."""
        name = f"version {stored.version} of {stored.id}"
        flows, mistakes = self.check([FlowFile(name, stored.definition)])
        if mistakes:
            return None, "\n".join(f"{name}: {one.text}" for one in mistakes)
        [read] = flows
        if missing := self.missing_secrets(read):
            return None, f"{name}: {MissingSecret(*missing)}"
        return read, ""

    def held(self) -> list[tuple[str, str]]:
        """The flows of which nothing runs, by id, and the command that mends it."""
        records = self._catalog.records
        states = ((flow.id, records.state(flow.id)) for flow in records.flows())
        return [(one, HOLDS[state]) for one, state in states if state in HOLDS]

    def overruled(self, read: ReadFlow) -> str:
        """What a person has decided since a flow's file was applied as it is now.

        Empty where nothing was; else the file is to be changed, or applied by hand.
        """
        records = self._catalog.records
        flow_id = read.flow.id
        definition = _definition(read)
        alike = [v for v in records.versions(flow_id) if v.definition == definition]
        if not alike:
            return ""
        if records.state(flow_id) == DELETED:
            return "deleted"
        current = records.versions(flow_id)[0]
        if alike[0] is not current and alike[0].version > current.rolled_back_to > 0:
            return f"rolled back to version {current.rolled_back_to}"
        return ""

    async def _apply(self, read: ReadFlow, rolled_back_to: int = 0) -> Applied:
        """Write a version; where another router has taken its number, the next one.

        What is decided of the flow from now on stands above it.
        """
        definition = _definition(read)
        flow_id = read.flow.id
        records = self._catalog.records
        follows = records.decision(flow_id).number
        changed = False
        while True:
            current = records.current(flow_id)
            is_there = changed or records.state(flow_id) != DELETED
            if current and is_there and current.definition == definition:
                return Applied(flow_id, current.version, changed=changed)
            version = (current.version if current else 0) + 1
            flow = flow_pb2.Flow(
                id=flow_id,
                version=version,
                name=read.flow.name,
                definition=definition,
                applied_at_us=time.time_ns() // 1000,
                follows_decision=follows,
                rolled_back_to=rolled_back_to,
            )
            changed = True
            key = version_key(flow_id, version)
            await self._log.append(self._topic, key, flow.SerializeToString())
            await self._catalog.wait_current(flow_id, version)
            counts = records.version(flow_id, version)
            await take_out_stale(self._catalog, self._log, self._topic, flow_id)
            if counts is not None and counts.definition == definition:
                # Also where another router's next version is the current one by now.
                return Applied(flow_id, version, changed=True)


def _definition(read: ReadFlow) -> bytes:
    return msgspec.json.encode(read.definition, order="sorted")
