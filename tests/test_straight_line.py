"""The straight line: a webhook comes in over HTTP, is kept, and its flow runs.

Ingress, router and executor in one loop, real HTTP, real gRPC; once on the embedded log,
once on a real Kafka with the edge's stream between ingress and router.
"""

from collections.abc import AsyncIterator

import pytest

from tests.instance import Instance
from tests.instance_on_kafka import Opening

# A flow that shows what its steps get to see.
MIRROR = """
id: mirror
trigger: {webhook: {auth: {type: none}, methods: [GET, POST, PUT, PATCH, DELETE]}}
steps:
  - id: show
    use: transform
    with: {body: {body: =body, files: =attachments, path: =path, query: =query}}
"""


@pytest.fixture
async def hookline(open_instance: Opening) -> AsyncIterator[Instance]:
    async with open_instance(MIRROR) as instance:
        yield instance


BODIES = {
    "JSON": ("application/json", b'{"n": 9007199254740993}', {"n": 9007199254740993}),
    "JSON by suffix": ("application/vnd.blog+json", b'["a"]', ["a"]),
    "XML": (
        "application/xml",
        b'<tx id="7"><amount cur="EUR">12.50</amount></tx>',
        {
            "tx": {
                "_attr": {"id": "7"},
                "amount": {"_attr": {"cur": "EUR"}, "_": "12.50"},
            }
        },
    ),
    "a list of properties": (
        "application/x-www-form-urlencoded",
        b"item[sku]=A-1&tag=x&tag=y",
        {"item": {"sku": "A-1"}, "tag": ["x", "y"]},
    ),
    "text": ("text/plain; charset=utf-8", "Grüße".encode(), "Grüße"),
    "text that is JSON": ("text/plain", b"[1, 2]", [1, 2]),
    "no body's worth": ("application/json", b"null", None),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_each_kind_of_body_reaches_its_flow(
    hookline: Instance, kind: str
) -> None:
    """What a step sees is the value that the body stands for."""
    content_type, body, value = BODIES[kind]

    answer = await hookline.send("mirror", body, [("Content-Type", content_type)])

    assert answer.status == 200
    assert (await hookline.result(answer)).get("body") == value


async def test_any_other_body_reaches_its_flow_as_a_file(hookline: Instance) -> None:
    """A type without a form of its own is an attachment, whole."""
    answer = await hookline.send(
        "mirror", b"\x89PNG\x00\xff", [("Content-Type", "image/png")]
    )
    result = await hookline.result(answer)

    assert result["body"] == {}
    assert result["files"]["payload.png"]["size"] == 6


async def test_a_get_brings_its_query_as_a_list_of_properties(
    hookline: Instance,
) -> None:
    """Without a body, the query is the body; the rest of the path goes along."""
    answer = await hookline.send(
        "mirror", None, [], method="GET", rest="/a%2Fb/?city=Oslo&tag=x&tag=y"
    )
    result = await hookline.result(answer)

    assert result["body"] == {"city": "Oslo", "tag": ["x", "y"]}
    assert result["query"] == result["body"]
    assert result["path"] == "/a%2Fb/"


async def test_the_caller_is_thanked_with_the_ids(hookline: Instance) -> None:
    """The default reply names the request, its headers the event too."""
    answer = await hookline.send("mirror", b"{}")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "requestId": answer.headers["x-request-id"],
        "message": "thank you",
    }
    assert answer.headers["x-event-id"]


@pytest.mark.parametrize("body", [b'{ "a" : 1 }\r\n', b"\x00\xff\xfe raw", b""])
async def test_the_log_has_the_bytes_and_the_headers_that_were_sent(
    hookline: Instance, body: bytes
) -> None:
    """Body bytes, and header pairs with their order, case and duplicates, are kept."""
    pairs = [
        ("X-Trace", "one"),
        ("content-TYPE", "application/octet-stream"),
        ("x-trace", "two"),
        ("X-Trace", "caf\xe9"),
    ]

    answer = await hookline.send("mirror", body, pairs)
    request = (await hookline.event(answer)).request
    kept = [(h.name.decode(), h.value.decode("latin-1")) for h in request.headers]

    assert request.body == body
    assert kept == [
        ("Host", "hooks.example"),
        *pairs,
        ("Content-Length", str(len(body))),
    ]
