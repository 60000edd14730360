"""Events by the hundred thousand: put into the log directly, not through an edge."""

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from hookline.cli.log_place import open_place, parse_place, topics_of
from hookline.event import new_event_id
from hookline.settings import Settings
from hookline.v1 import event_pb2

AT_ONCE = 5_000
BODY = b'{"name": "Ada", "note": "%s"}' % (b"x" * 140)
HEADERS = ((b"Host", b"127.0.0.1"), (b"Content-Type", b"application/json"))


def append_events(
    log: str, environment: Mapping[str, str], flows: Iterable[str]
) -> None:
    """Append an event of each of these flows, in this order, as a router would.

    All of them are accepted now, under the first version of their flow.
    """
    asyncio.run(_append(log, {**os.environ, **environment}, iter(flows)))


async def _append(
    log: str, environment: Mapping[str, str], flows: Iterator[str]
) -> None:
    place, settings = parse_place(log), Settings.read(environment)
    topics = topics_of(place, settings)
    async with open_place(place, topics, settings, lambda _: None) as opened:
        while some := list(islice(flows, AT_ONCE)):
            appends = [
                opened.append(topics.events, flow_id.encode(), _event(flow_id))
                for flow_id in some
            ]
            await asyncio.gather(*appends)


def _event(flow_id: str) -> bytes:
    headers = [event_pb2.Header(name=name, value=value) for name, value in HEADERS]
    request = event_pb2.Request(
        method="POST",
        path=f"/hook/{flow_id}",
        flow_id=flow_id,
        headers=headers,
        body=BODY,
    )
    return event_pb2.Event(
        id=new_event_id(),
        flow_id=flow_id,
        flow_version=1,
        accepted_at_us=time.time_ns() // 1000,
        request=request,
    ).SerializeToString()
