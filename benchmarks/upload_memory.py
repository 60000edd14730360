"""What a large upload takes of memory: python -m benchmarks.upload_memory.

A file of 200 MB in a multipart form, through ingress and router as processes, to a body
store in a directory. Ends with 1 where one of them has grown by 20 MB or more, or the
store does not hold what was sent.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

from benchmarks.consumption import forget_peak, peak_resident_mb
from tests.caller import upload
from tests.processes import Service, run, service

MB = 1_000_000
MOST_MB = 20.0
PIECE = bytes(range(256)) * 1024
HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
TYPE = ("Content-Type", "multipart/form-data; boundary=b")
FLOW = """
id: files
trigger: {webhook: {max_body: 1GB, auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: 1}}]
"""


def form_of(file_bytes: int) -> Iterator[bytes]:
    """A form with a file of so many bytes."""
    yield HEAD
    for start in range(0, file_bytes, len(PIECE)):
        yield (start.to_bytes(8, "big") + PIECE[8:])[: file_bytes - start]
    yield TAIL


def digest_of(pieces: Iterator[bytes]) -> str:
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def kept(store: Path) -> Iterator[Iterator[bytes]]:
    """The bodies in the store, each in pieces."""
    for path in store.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                yield iter(lambda: file.read(MB), b"")


async def line(stack: AsyncExitStack, directory: Path) -> Mapping[str, Service]:
    """Ingress and router, with the flow applied."""
    environment = {
        "HOOKLINE_ROUTER__TOKENS": "inner",
        "HOOKLINE_ROUTER__EDGE_TOKENS": "edge",
        "HOOKLINE_INGRESS__ROUTER_TOKEN": "edge",
        "HOOKLINE_TOKEN": "inner",
        "HOOKLINE_BODIES__STORE": (directory / "bodies").as_uri(),
    }
    log = ("--log", f"sqlite:{directory / 'log'}", "--grpc", "127.0.0.1:0")
    router = service("router", *log, environment=environment)
    services = {"router": await stack.enter_async_context(router)}
    address = services["router"].grpc
    ports = ("--http", "127.0.0.1:0", "--router", address)
    ingress = service("ingress", *ports, environment=environment)
    services["ingress"] = await stack.enter_async_context(ingress)
    flow = directory / "files.yaml"
    flow.write_text(FLOW)
    apply = ("apply", "-f", str(flow), "--router", address)
    code, out, err = await run(*apply, environment=environment)
    if code:
        sys.exit(f"{out}{err}")
    await services["ingress"].wait_ready()
    return services


async def send(services: Mapping[str, Service], file_bytes: int) -> None:
    size = file_bytes + len(HEAD) + len(TAIL)
    address = services["ingress"].http
    answer = await upload(
        address, "/hook/files", [TYPE], form_of(file_bytes), size=size
    )
    if answer.status != 200:
        sys.exit(f"the upload was answered {answer}")


async def measure(directory: Path, file_bytes: int) -> bool:
    async with AsyncExitStack() as stack:
        services = await line(stack, directory)
        # What every upload needs once is there from the first one on.
        await send(services, MB)
        before = {}
        for name, one in services.items():
            forget_peak(one.process.pid)
            before[name] = peak_resident_mb(one.process.pid)
        await send(services, file_bytes)
        held = [_within(name, one, before[name]) for name, one in services.items()]
        return all(held)


def _within(name: str, one: Service, before_mb: float) -> bool:
    grown_mb = peak_resident_mb(one.process.pid) - before_mb
    verdict = "as expected" if grown_mb < MOST_MB else "OVER"
    print(
        f"{name} has grown by {grown_mb:.1f} MB, expected below {MOST_MB:g}: {verdict}"
    )
    return grown_mb < MOST_MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    file_bytes = options.megabytes * MB
    with tempfile.TemporaryDirectory() as directory:
        within = asyncio.run(measure(Path(directory), file_bytes))
        digests = [digest_of(body) for body in kept(Path(directory) / "bodies")]
    arrived = digest_of(form_of(file_bytes)) in digests
    print(f"{options.megabytes} MB are in the store byte for byte: {arrived}")
    sys.exit(not (within and arrived))


if __name__ == "__main__":
    main()
