"""Trims a partition for as long as it is this executor's: nothing expires by itself.

Events go when they are past their time and the last commit that was kept needs none of
them; so does the journal, never before the events it speaks of. Dead letters have a time
of their own, and so have the copies of their bodies.
"""

import asyncio
import time
from collections.abc import Callable
from math import ceil
from random import uniform
from typing import Final

from hookline.body_store import BodyStore
from hookline.errors import Error
from hookline.log import Commit, Log, Position, Record, Topic
from hookline.log.search import first_since, records
from hookline.metrics import Metrics
from hookline.telemetry import get_logger
from hookline.topics import Topics
from services.executor.retention import (
    Age,
    Retention,
    age_of,
    bodies_before_ms,
    journal_age,
    needs_of,
)

ALARM_S: Final = 3600.0
BODIES_EVERY_MS: Final = 600_000
HELP: Final = (
    "this event is past its time and not over; it and everything after it is kept: see "
    "what its flow waits for (held, suspended, or long in retries)"
)
logger = get_logger(__name__)
Kept = Callable[[], Commit | None]


class Trims:
    """What the trimming of all partitions of an executor has in common."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        retention: Retention,
        metrics: Metrics,
        *,
        bodies: BodyStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.log = log
        self.topics = topics
        self.retention = retention
        self.metrics = metrics
        self.bodies = bodies
        self.clock = clock
        self.held_s_by_partition: dict[int, float] = {}
        metrics.trim_held.set_function(
            lambda: max(self.held_s_by_partition.values(), default=0.0)
        )

    async def run(
        self, partition: int, kept: Kept, owned: Callable[[], bool] = lambda: True
    ) -> None:
        """Trim a partition now and then, until cancelled."""
        trim = Trim(self, partition, kept, owned)
        try:
            while True:
                await asyncio.sleep(self.retention.every_s * uniform(0.5, 1.5))  # noqa: S311 - spreads the work, guards nothing
                await trim.step_if_it_can()
        finally:
            self.held_s_by_partition.pop(partition, None)


class Trim:
    """The trimming of one partition; `kept` tells its last commit that was kept."""

    def __init__(
        self, trims: Trims, partition: int, kept: Kept, owned: Callable[[], bool]
    ) -> None:
        self._trims = trims
        self._log = trims.log
        self._partition = partition
        self._kept = kept
        self._owned = owned
        self._alarm_due_s = 0.0
        self._events_swept_ms = self._letters_swept_ms = -BODIES_EVERY_MS

    async def step_if_it_can(self) -> None:
        """One step; what the log or the body store does not do now is done later."""
        try:
            await self.step()
        except Error as error:
            logger.warning("trim.delayed", partition=self._partition, error=str(error))

    async def step(self) -> None:
        """Forget what may be forgotten now. Raises Unavailable."""
        topics, retention = self._trims.topics, self._trims.retention
        now_ms = self._trims.clock() * 1000
        # One commit for all: what it says of the journal and of events goes together.
        needs = needs_of(self._kept())
        if events := age_of(now_ms, retention.events_s):
            await self._trim(topics.events, needs.event, events)
            await self._watch(needs.event, events)
        oldest_ms = await self._oldest_ms(topics.events)
        if journal := journal_age(age_of(now_ms, retention.history_s), oldest_ms):
            await self._trim(topics.executions, needs.journal, journal)
        if letters := age_of(now_ms, retention.dead_letters_s):
            await self._trim(topics.dead_letters, None, letters)
        await self._trim_bodies(events, oldest_ms)
        await self._trim_copies(letters)

    async def _trim(self, topic: Topic, needed: int | None, age: Age) -> None:
        start, end = await self._log.bounds(topic, self._partition)
        until = end if needed is None else min(needed, end)
        first = await self._at(topic, start) if start < until else None
        if first is None or first.appended_at_ms >= age.due_ms:
            return
        young = await first_since(
            self._log, topic, self._partition, ceil(age.cutoff_ms)
        )
        before = min(until, young)
        if before > start and self._owned():
            await self._log.trim(topic, Position(self._partition, before))
            self._trims.metrics.trimmed.labels(topic.name).inc(before - start)

    async def _watch(self, needed: int, age: Age) -> None:
        """Tell when what is needed is past its time: then it holds all that follows."""
        record = await self._at(self._trims.topics.events, needed)
        held_ms = age.cutoff_ms - record.appended_at_ms if record else 0.0
        self._trims.held_s_by_partition[self._partition] = max(0.0, held_ms / 1000)
        now_s = self._trims.clock()
        if record is None or held_ms <= 0 or now_s < self._alarm_due_s:
            return
        self._alarm_due_s = now_s + ALARM_S
        logger.error(
            "trim.held",
            flow_id=record.key.decode(errors="replace"),
            partition=self._partition,
            offset=needed,
            age_s=round(now_s - record.appended_at_ms / 1000),
            help=HELP,
        )

    async def _trim_bodies(self, age: Age | None, oldest_ms: float | None) -> None:
        bodies = self._trims.bodies
        if bodies is None or age is None or not self._owned():
            return
        before_ms = bodies_before_ms(age, oldest_ms)
        if before_ms - self._events_swept_ms >= BODIES_EVERY_MS:
            await bodies.trim_events(self._partition, before_ms)
            self._events_swept_ms = before_ms

    async def _trim_copies(self, age: Age | None) -> None:
        bodies = self._trims.bodies
        if bodies is None or age is None or not self._owned():
            return
        oldest_ms = await self._oldest_ms(self._trims.topics.dead_letters)
        before_ms = bodies_before_ms(age, oldest_ms)
        if before_ms - self._letters_swept_ms >= BODIES_EVERY_MS:
            await bodies.trim_letters(self._partition, before_ms)
            self._letters_swept_ms = before_ms

    async def _oldest_ms(self, topic: Topic) -> float | None:
        """The time of a topic's first record that is still there."""
        start, end = await self._log.bounds(topic, self._partition)
        first = await self._at(topic, start) if start < end else None
        return first.appended_at_ms if first else None

    async def _at(self, topic: Topic, offset: int) -> Record | None:
        found = records(self._log, topic, self._partition, offset, offset + 1)
        return await anext(found, None)
