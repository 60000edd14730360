"""CloudEvents: in three modes one event looks the same to a flow; what is none is refused.

The examples are those of the specification's JSON format, 1.0.2.
"""

import base64
import json
from typing import Any

import pytest

from hookline.bodies import check, trigger_of
from hookline.errors import Malformed
from hookline.event import InMemory
from hookline.v1 import event_pb2

EVENT = "application/cloudevents+json; charset=UTF-8"
BATCH = "application/cloudevents-batch+json"
ATTRIBUTES = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "source": "/mycontext",
    "subject": None,
    "id": "C234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
    "flag": True,
}
HEADERS = {
    "ce-specversion": "1.0",
    "ce-type": "com.example.someevent",
    "ce-source": "/mycontext",
    "ce-id": "C234-1234-1234",
    "ce-time": "2018-04-05T17:31:00Z",
    "ce-comexampleextension1": "value",
    "ce-comexampleothervalue": "5",
    "ce-flag": "true",
}


def request(content_type: str, body: Any, **headers: str) -> event_pb2.Request:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = {"content-type": content_type, **headers}
    return event_pb2.Request(
        method="POST",
        body=sent,
        headers=[
            event_pb2.Header(name=name.encode(), value=value.encode())
            for name, value in pairs.items()
        ],
    )


@pytest.mark.parametrize(
    ("more", "body"),
    [
        ({"data": {"a": "abc", "c": True}}, {"a": "abc", "c": True}),
        ({"data": "text", "datacontenttype": "application/json"}, "text"),
        ({"data": 2**70}, 2**70),
        ({"datacontenttype": "text/xml", "data": "<much>wow</much>"}, {"much": "wow"}),
        ({"datacontenttype": "text/plain", "data": "wow"}, "wow"),
        ({"data_base64": base64.b64encode(b'{"a":1}').decode()}, {"a": 1}),
        ({"data": [1], "datacontenttype": "application/xml"}, [1]),
        ({"data": None}, {}),
        ({}, {}),
    ],
)  # fmt: skip
def test_an_events_data_is_the_body_and_its_attributes_are_headers(
    more: dict[str, Any], body: Any
) -> None:
    trigger, attachments = trigger_of(request(EVENT, {**ATTRIBUTES, **more}))

    kind = {k: v for k, v in more.items() if k == "datacontenttype"}
    expected = HEADERS | {f"ce-{name}": value for name, value in kind.items()}
    assert trigger.body == body
    assert trigger.headers == {"content-type": EVENT, **expected}
    assert not attachments


def test_data_that_is_a_file_is_an_attachment() -> None:
    data = {"datacontenttype": "image/png", "data_base64": "iVBORw=="}

    trigger, attachments = trigger_of(request(EVENT, {**ATTRIBUTES, **data}))

    assert trigger.body == {}
    assert attachments["payload.png"].content == InMemory(b"\x89PNG")


def test_attributes_in_headers_stay_as_they_are() -> None:
    sent = request("application/json", {"a": 1}, **HEADERS)

    trigger, _ = trigger_of(sent)

    assert trigger.body == {"a": 1}
    assert trigger.headers == {"content-type": "application/json", **HEADERS}


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": 5},
        {"source": None},
        {"type": None},
        {"specversion": None},
        {"not_a_name": "x"},
        {"Upper": "x"},
        {"list": []},
        {"number": 1.5},
        {"data": 1, "data_base64": ""},
        {"data_base64": "%"},
        {"data_base64": 5},
        {"data": "<a>", "datacontenttype": "text/xml"},
        {"data": "[]", "datacontenttype": "application/cloudevents-batch"},
    ],
)
def test_what_is_no_event_is_malformed(change: dict[str, Any]) -> None:
    """Except for a type that is not known: that is a file."""
    sent = request(EVENT, ATTRIBUTES | change)
    if "batch" in str(change):
        assert list(trigger_of(sent)[1]) == ["payload.bin"]
        return
    with pytest.raises(Malformed):
        check(sent)


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b"{", b""])
def test_an_event_is_an_object(body: bytes) -> None:
    with pytest.raises(Malformed):
        check(request(EVENT, body))


def test_a_batch_is_its_events_as_they_were_sent() -> None:
    one = b'{"specversion":"1.0",  "id":"1", "source":"s", "type":"t", "data": 1e2}'
    two = json.dumps(ATTRIBUTES).encode()

    assert check(request(BATCH, b" [ " + one + b"," + two + b"]")) == (one, two)
    assert check(request(BATCH, b"[]")) == ()


def test_any_other_body_is_no_batch() -> None:
    assert check(request(EVENT, ATTRIBUTES)) is None
    assert check(request("application/json", [])) is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "no list"),
        (b"[", "not JSON"),
        ([ATTRIBUTES, {"id": "x"}], "Event 1"),
        ([ATTRIBUTES, 1], "Event 1"),
        ([ATTRIBUTES] * 1001, "at most"),
    ],
)
def test_a_batch_is_refused_as_a_whole(body: Any, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        check(request(BATCH, body))


def test_a_batch_that_is_taken_raw_is_one_text() -> None:
    assert check(request(BATCH, b"[]"), raw=True) is None
