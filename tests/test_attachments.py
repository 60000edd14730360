"""Files through the whole line: uploaded in a form, seen by expressions, sent on."""

import gzip
import json
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec
import pytest

from hookline.bodies import parse
from tests.instance import running
from tests.standins import StandIn

PASS_ON = """
id: pass-on
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - id: raw
    use: http.request
    with: {{url: "{url}/raw", raw: true}}
  - id: seen
    use: transform
    with: {{body: "=trigger.body"}}
"""
FILES = """
id: files
trigger: {{webhook: {{auth: {{type: none}}}}}}
steps:
  - id: one
    use: http.request
    when: =attachments.`x.bin`.size > 10
    with:
      url: "{url}/one"
      attachments: "*"
      body:
        a: =body.a
        sha256: =attachments.`x.bin`.sha256
        name: =$keys(attachments)
"""
ECHO = """
id: echo
trigger: {webhook: {auth: {type: none}}}
steps:
  - {id: seen, use: transform, with: {body: {data: =body, id: =headers.`ce-id`}}}
"""


def upload(content: bytes) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="../../x.bin"\r\n'
        b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--b--\r\n"
    )


@pytest.mark.parametrize("size", [1000, 900_000], ids=["in line", "stored"])
@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_an_uploaded_file_is_sent_on_byte_for_byte(
    tmp_path: Path, size: int, coding: str
) -> None:
    content = Random(1).randbytes(size)  # noqa: S311 - any bytes will do
    body = upload(content)
    headers = [("Content-Type", "multipart/form-data; boundary=b")]
    if coding:
        body = gzip.compress(body, 1)
        headers.append(("Content-Encoding", coding))
    async with StandIn() as standin:
        flows = [flow.format(url=standin.url) for flow in (PASS_ON, FILES)]
        async with running(tmp_path, *flows) as instance:
            answers = [
                await instance.send(flow, body, headers)
                for flow in ("pass-on", "files")
            ]
            seen = await instance.result(answers[0])
            await instance.result(answers[1])

    raw, form = sorted(standin.requests, key=lambda request: request.path, reverse=True)
    assert seen == {"a": "1"}
    assert raw.headers.get("content-encoding", "") == coding
    assert raw.body == upload(content)  # as the stand-in decodes it
    assert raw.headers["content-type"] == headers[0][1]
    parsed = parse(form.headers["content-type"], form.body)
    digest = sha256(content).hexdigest()
    assert parsed.value == {"a": "1", "sha256": digest, "name": "x.bin"}
    assert await parsed.attachments["x.bin"].content.whole(size) == content


@pytest.mark.parametrize("padding", [0, 400_000], ids=["small", "large"])
async def test_a_batch_is_an_event_an_element_in_order(
    tmp_path: Path, padding: int
) -> None:
    """Answered with their ids when all are durable; nothing is left in the store."""
    events = [
        {"specversion": "1.0", "id": f"e{n}", "source": "s", "type": "t", "data": n}
        for n in range(5)
    ]
    body = json.dumps(events).encode() + b" " * padding
    headers = [("Content-Type", "application/cloudevents-batch+json")]
    async with running(tmp_path, ECHO) as instance:
        answer = await instance.send("echo", body, headers)
        ids = answer.json["eventIds"]
        ended = [await instance.ends.wait(event_id) for event_id in ids]
        empty = await instance.send("echo", b"[]", headers)
        broken = await instance.send("echo", b'[{"id": "x"}]', headers)

    assert answer.status == 200
    assert answer.headers["x-event-id"] == ids[0]
    assert [msgspec.json.decode(one.result) for one in ended] == [
        {"data": n, "id": f"e{n}"} for n in range(5)
    ]
    assert [event.id for event in instance.ends.order] == ids
    assert (empty.status, empty.json["eventIds"]) == (200, [])
    assert "x-event-id" not in empty.headers
    assert broken.status == 400
    assert "Event 0" in broken.json["detail"]
    assert not [p for p in (tmp_path / "data" / "bodies").rglob("*") if p.is_file()]
