"""Attachments that calls send: one as the body, several in a form, streamed, and signed."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hookline.bodies import parse
from hookline.bodies_stored import StoredRange
from hookline.body_store import open_body_store
from hookline.components.http_request import HttpRequest
from hookline.components.webhook_send import WebhookSend
from hookline.errors import RetryableError, TerminalError
from hookline.event import Attachment, InMemory, Message
from hookline.http_client import GuardedClient
from tests.builders import component, message
from tests.standins import Answer, Request, StandIn

PNG = b"\x89PNG" + bytes(range(256)) * 4000
FILES = {
    "pic.png": Attachment("image/png", InMemory(PNG)),
    'a"b.txt': Attachment("text/plain; charset=latin-1", InMemory(b"\xe9")),
}


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with StandIn() as standin:
        yield standin


async def sent(
    server: StandIn,
    http: GuardedClient,
    given: Message,
    kind: Any = HttpRequest,
    **parameters: Any,
) -> Request:
    step = component(kind, {"url": server.url, **parameters}, http, {"KEY": "k"})
    await step.run(given)
    return server.requests[-1]


async def stored(directory: Path, content: bytes) -> StoredRange:
    store = open_body_store(directory.as_uri())
    async with store.writing(0) as writing:
        await writing.write(b"before" + content + b"after")
        body = await writing.finish()
    digest = hashlib.sha256(content).hexdigest()
    return StoredRange(store, body, 6, len(content), digest)


async def test_an_attachment_is_the_body(server: StandIn, http: GuardedClient) -> None:
    got = await sent(
        server, http, message(attachments=FILES), attachment="=$keys(attachments)[0]"
    )

    assert got.body == PNG
    assert got.headers["content-type"] == "image/png"


async def test_a_file_in_the_store_is_sent_from_there(
    server: StandIn, http: GuardedClient, tmp_path: Path
) -> None:
    """With its size said, since not every receiver takes chunks."""
    content = await stored(tmp_path, PNG)
    given = message(attachments={"pic.png": Attachment("image/png", content)})

    one = await sent(server, http, given, attachment="pic.png")
    form = await sent(server, http, given, attachments="*", body={"a": 1})

    assert one.body == PNG
    assert one.headers["content-length"] == str(len(PNG))
    assert "transfer-encoding" not in one.headers
    assert form.headers["content-length"] == str(len(form.body))
    parsed = parse(form.headers["content-type"], form.body)
    assert parsed.attachments["pic.png"].content == InMemory(PNG)


async def test_files_are_sent_in_a_form_after_the_fields(
    server: StandIn, http: GuardedClient
) -> None:
    body = {
        "s": "ü",
        "n": 2**70,
        "b": True,
        "l": ["1", {"x": []}],
        "o": None,
        'q"\n': "",
    }

    got = await sent(server, http, message(body, attachments=FILES), attachments="*")

    parsed = parse(got.headers["content-type"], got.body)
    assert parsed.value == {
        "s": "ü",
        "n": str(2**70),
        "b": "true",
        "l": ["1", {"x": []}],
        'q"\n': "",
    }
    assert parsed.attachments == FILES
    assert got.body.count(b'name="file"; ') == 2


@pytest.mark.parametrize(
    ("attachments", "field"),
    [
        (["pic.png"], "file"),
        ("pic.png", "file"),
        ({"document": "pic.png"}, "document"),
        ("=$keys(attachments)[[0]]", "file"),
    ],
)
async def test_files_are_chosen_by_name(
    server: StandIn, http: GuardedClient, attachments: Any, field: str
) -> None:
    got = await sent(
        server, http, message(attachments=FILES), attachments=attachments, body={}
    )

    assert f'name="{field}"; filename="pic.png"'.encode() in got.body
    assert got.body.count(b"filename=") == 1


async def test_a_form_is_the_same_in_each_attempt(
    server: StandIn, http: GuardedClient
) -> None:
    """A receiver that knows the Idempotency-Key must not see another body."""
    given = message({}, attachments=FILES)
    server.fail(Answer(503))

    with pytest.raises(RetryableError):
        await sent(server, http, given, attachments="*")
    await sent(server, http, given, attachments="*")
    other = message(
        {}, attachments={"pic.png": Attachment("image/png", InMemory(b"x"))}
    )
    await sent(server, http, other, attachments="*")

    first, second, third = (r.headers["content-type"] for r in server.requests)
    assert first == second != third
    assert server.requests[0].body == server.requests[1].body


async def test_a_file_is_signed(
    server: StandIn, http: GuardedClient, tmp_path: Path
) -> None:
    content = await stored(tmp_path, PNG)
    given = message(attachments={"pic.png": Attachment("image/png", content)})
    sign = {"type": "hmac", "secret": "${secret:KEY}"}

    got = await sent(server, http, given, WebhookSend, attachment="pic.png", sign=sign)

    digest = hmac.new(b"k", PNG, hashlib.sha256).hexdigest()
    assert got.headers["x-eio-signature"] == digest
    assert got.body == PNG


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"attachment": "other"}, "no attachment 'other'; there are: 'pic.png'"),
        ({"attachments": ["other"], "body": {}}, "no attachment 'other'"),
        ({"attachments": [1], "body": {}}, "no attachment 1"),
        ({"attachments": True, "body": {}}, "attachments are"),
        ({"attachments": "*", "body": "text"}, "body: {}"),
    ],
)
async def test_what_cannot_be_sent_fails_the_step(
    server: StandIn, http: GuardedClient, parameters: Any, why: str
) -> None:
    with pytest.raises(TerminalError, match=why):
        await sent(server, http, message(attachments=FILES), **parameters)

    assert not server.requests


@pytest.mark.parametrize(
    "parameters",
    [
        {"attachment": "a", "attachments": "*"},
        {"attachment": "a", "raw": True},
        {"attachments": "*", "raw": True},
        {"attachment": "a", "body": {}},
    ],
)
def test_a_call_has_one_body(parameters: Any) -> None:
    with pytest.raises(ValidationError):
        HttpRequest.Parameters.model_validate({"url": "http://x", **parameters})
