"""Bodies too large for the log, through real processes: byte for byte, in little memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web

from tests.caller import Answer, upload
from tests.processes import Service, run, service, up
from tests.stores import S3, Place, bodies_in, kept
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MB = 1_000_000
PIECE = bytes(range(256)) * 1024
BINARY = ("Content-Type", "application/octet-stream")
FLOW = """\
id: files
trigger: {webhook: {max_body: 200MB, auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
SERVICES = {
    "HOOKLINE_ROUTER__TOKENS": "inner",
    "HOOKLINE_ROUTER__EDGE_TOKENS": "edge",
    "HOOKLINE_INGRESS__ROUTER_TOKEN": "edge",
    "HOOKLINE_TOKEN": "inner",
}


def pieces_of(size: int) -> Iterator[bytes]:
    """So many bytes, no two pieces of them the same."""
    for start in range(0, size, len(PIECE)):
        mark = start.to_bytes(8, "big")
        yield (mark + PIECE[8:])[: size - start]


def digest_of(pieces: Iterator[bytes]) -> str:
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(MB):
            yield piece


def held_kb(one: Service, name: str) -> int:
    """VmRSS, or VmHWM, of a process."""
    status = Path(f"/proc/{one.process.pid}/status").read_text(encoding="ascii")
    return next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith(name)
    )


def flow_file(tmp_path: Path) -> Path:
    directory = tmp_path / "flows"
    directory.mkdir()
    (directory / "files.yaml").write_text(FLOW)
    return directory


async def send(address: str, size: int, *, declared: bool = True) -> Answer:
    pieces = pieces_of(size)
    declare = size if declared else None
    return await upload(address, "/hook/files", [BINARY], pieces, size=declare)


def assert_kept(directory: Path, size: int) -> None:
    """One body is in the store, whole."""
    [path] = kept(directory)
    assert path.stat().st_size == size
    assert digest_of(read(path)) == digest_of(pieces_of(size))


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_200_mb_pass_through_one_process_in_little_memory(
    tmp_path: Path, *, declared: bool
) -> None:
    """They are in the store byte for byte, and the process has grown by less than 20 MB."""
    flows = flow_file(tmp_path)
    data = tmp_path / "data"
    async with up(data, "--flows", str(flows), "--no-executor") as one:
        assert (await send(one.http, 200_000)).status == 200
        before_kb = held_kb(one, "VmRSS")
        answer = await send(one.http, 200 * MB, declared=declared)
        grown_kb = held_kb(one, "VmHWM") - before_kb

    assert answer.status == 200, answer
    assert_kept(bodies_in(data), 200 * MB)
    assert grown_kb < 20_000


@pytest.mark.parametrize("place", ["s3"], indirect=True)
async def test_200_mb_go_to_a_bucket_in_little_memory(
    tmp_path: Path, place: Place, s3_server: S3
) -> None:
    """In parts; of one that is refused no part stays."""
    flows = flow_file(tmp_path)
    environment = {"HOOKLINE_BODIES__STORE": place.url}
    arguments = ("--flows", str(flows), "--no-executor")
    async with up(tmp_path / "data", *arguments, environment=environment) as one:
        refused = await send(one.http, 210 * MB, declared=False)
        assert (refused.status, await place.left()) == (413, [])
        before_kb = held_kb(one, "VmRSS")
        answer = await send(one.http, 200 * MB)
        grown_kb = held_kb(one, "VmHWM") - before_kb

    assert answer.status == 200, answer
    [key] = await place.left()
    bucket = place.url.split("/")[2]
    with s3_server.reading(f"/{bucket}/{key}") as pieces:
        assert digest_of(pieces) == digest_of(pieces_of(200 * MB))
    assert grown_kb < 20_000


async def test_200_mb_pass_through_ingress_and_router_in_little_memory(
    tmp_path: Path,
) -> None:
    """The same where both are processes of their own: the body is whole in neither."""
    flows = flow_file(tmp_path)
    bodies = bodies_in(tmp_path)
    log = f"sqlite:{tmp_path / 'log'}"
    environment = {**SERVICES, "HOOKLINE_BODIES__STORE": bodies.as_uri()}
    async with (
        service(
            *("router", "--log", log, "--grpc", "127.0.0.1:0"), environment=environment
        ) as router,
        service(
            *("ingress", "--http", "127.0.0.1:0", "--router", router.grpc),
            environment=environment,
        ) as ingress,
    ):
        code, _, err = await run(
            *("apply", "-f", str(flows / "files.yaml"), "--router", router.grpc),
            environment=environment,
        )
        assert (code, err) == (0, "")
        await ingress.wait_ready()
        assert (await send(ingress.http, 200_000)).status == 200
        before_kb = [held_kb(one, "VmRSS") for one in (router, ingress)]
        answer = await send(ingress.http, 200 * MB)
        after_kb = [held_kb(one, "VmHWM") for one in (router, ingress)]

    assert answer.status == 200, answer
    assert_kept(bodies, 200 * MB)
    grown_kb = [
        after - before for after, before in zip(after_kb, before_kb, strict=True)
    ]
    assert max(grown_kb) < 20_000, grown_kb


@dataclass(slots=True)
class Received:
    """What another system has got: content type, size and digest of each body."""

    url: str = ""
    bodies: list[tuple[str, int, str]] = field(default_factory=list)


@asynccontextmanager
async def receiving() -> AsyncIterator[Received]:
    """Another system, that reads bodies and keeps none."""
    received = Received()

    async def take(http: web.BaseRequest) -> web.Response:
        digest, size = sha256(), 0
        async for piece in http.content.iter_any():
            digest.update(piece)
            size += len(piece)
        content_type = http.headers["Content-Type"]
        received.bodies.append((content_type, size, digest.hexdigest()))
        return web.Response()

    server = web.Server(take)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    received.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    async with listener:
        yield received
        await server.shutdown()


SENDING = """\
id: files
trigger: {{webhook: {{max_body: 210MB, auth: {{type: none}}}}}}
steps:
  - {{id: file, use: http.request, with: {{url: "{url}", attachment: big.bin}}}}
  - {{id: all, use: http.request, with: {{url: "{url}", raw: true}}}}
"""
FORM = ("Content-Type", "multipart/form-data; boundary=limit")
FILE_HEAD = (
    b'--limit\r\nContent-Disposition: form-data; name="note"\r\n\r\nbig\r\n'
    b'--limit\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n'
    b"Content-Type: application/x-big\r\n\r\n"
)


def form_of(size: int) -> Iterator[bytes]:
    """A form with a field, and a file of so many bytes."""
    yield FILE_HEAD
    yield from pieces_of(size)
    yield b"\r\n--limit--\r\n"


async def test_a_file_of_200_mb_goes_out_as_it_came(tmp_path: Path) -> None:
    """Alone, and in its form; the process that takes, keeps and sends it stays small."""
    flows = tmp_path / "flows"
    flows.mkdir()
    async with receiving() as received:
        (flows / "files.yaml").write_text(SENDING.format(url=received.url))
        async with up(tmp_path / "data", "--flows", str(flows)) as one:
            sent = 0
            for size in (300_000, 200 * MB):
                before_kb = held_kb(one, "VmRSS")
                answer = await upload(one.http, "/hook/files", [FORM], form_of(size))
                assert answer.status == 200, answer
                sent += 2
                await until(lambda: len(received.bodies) == sent)  # noqa: B023 - awaited here
            grown_kb = held_kb(one, "VmHWM") - before_kb

    file, whole = received.bodies[-2:]
    assert file == ("application/x-big", 200 * MB, digest_of(pieces_of(200 * MB)))
    form_size = sum(map(len, form_of(200 * MB)))
    assert whole == (FORM[1], form_size, digest_of(form_of(200 * MB)))
    assert grown_kb < 20_000


async def test_a_refused_upload_leaves_nothing(tmp_path: Path) -> None:
    """It is refused when it crosses the limit, and what has been written is deleted."""
    flows = flow_file(tmp_path)
    data = tmp_path / "data"
    async with up(data, "--flows", str(flows), "--no-executor") as one:
        answer = await send(one.http, 210 * MB, declared=False)

    assert answer.status == 413
    assert not kept(bodies_in(data))
