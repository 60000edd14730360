"""Internal services: a client made from the bare protos, as the README shows it."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from hookline.cli.options import TOKEN_FILE
from hookline.v1 import execution_pb2, publish_pb2, publish_pb2_grpc
from tests.instance import Instance, running

ROOT = Path(__file__).parent.parent
HELLO = (ROOT / "flows" / "hello.yaml").read_text()


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, HELLO) as instance:
        yield instance


async def run_client(directory: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the README's client in a Python that knows nothing of Hookline's code."""
    [code] = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    client = directory / "client.py"
    client.write_text(code)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", str(client), *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode().strip(), err.decode()


async def test_the_clients_of_the_readme_starts_a_flow(
    hookline: Instance, tmp_path: Path
) -> None:
    """With a token it prints the id of an event, and the event is executed."""
    token = (hookline.hosted.options.data / TOKEN_FILE).read_text().strip()

    code, event_id, err = await run_client(tmp_path, hookline.hosted.grpc, token)

    assert code == 0, err
    ended = await hookline.ends.wait(event_id)
    assert ended.status == execution_pb2.STATUS_COMPLETED
    assert b"Hello, Ada!" in ended.result


async def test_without_a_valid_token_it_is_unauthenticated(
    hookline: Instance, tmp_path: Path
) -> None:
    """A wrong token starts nothing."""
    code, _, err = await run_client(tmp_path, hookline.hosted.grpc, "wrong")

    assert code != 0
    assert "UNAUTHENTICATED" in err
    assert not hookline.ends.order


@pytest.mark.parametrize(
    "metadata",
    [(), (("authorization", "token"),), (("authorization", "Basic token"),)],
)
async def test_every_other_form_of_a_credential_is_refused(
    hookline: Instance, metadata: tuple[tuple[str, str], ...]
) -> None:
    """No metadata, no scheme, another scheme."""
    stub = publish_pb2_grpc.PublishServiceStub(hookline.channel)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Publish(publish_pb2.PublishRequest(), metadata=metadata)

    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_batch_is_executed_in_its_order(hookline: Instance) -> None:
    """The ids come back in the order of the messages, and the events run in it."""
    stub = publish_pb2_grpc.PublishServiceStub(hookline.channel)
    messages = [
        publish_pb2.PublishRequest(
            flow_id="hello", content_type="application/json", body=b'{"name":"%d"}' % n
        )
        for n in range(50)
    ]

    answer = await stub.PublishBatch(
        publish_pb2.PublishBatchRequest(messages=messages), metadata=hookline.metadata
    )
    for event_id in answer.event_ids:
        await hookline.ends.wait(event_id)

    assert [event.id for event in hookline.ends.order] == list(answer.event_ids)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (publish_pb2.PublishRequest(flow_id="nobody"), grpc.StatusCode.NOT_FOUND),
        (
            publish_pb2.PublishRequest(
                flow_id="hello", content_type="application/json", body=b"{"
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_a_mistake_is_a_status_with_a_sentence(
    hookline: Instance, request_: publish_pb2.PublishRequest, status: grpc.StatusCode
) -> None:
    """What is wrong, and what to do."""
    stub = publish_pb2_grpc.PublishServiceStub(hookline.channel)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Publish(request_, metadata=hookline.metadata)

    assert refused.value.code() == status
    assert refused.value.details()
