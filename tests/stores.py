"""Body stores of the tests: a directory, and a bucket of an S3-compatible server (moto)."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

import pytest

from tests.broker_files import free_ports
from tests.waiting import until_asked

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where bodies are kept.

    `left` gives the names of what is there, parts of what is not complete among them.
    """

    url: str
    left: Callable[[], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class S3:
    """A running server; `endpoint` is its HOST:PORT."""

    endpoint: str
    process: subprocess.Popen[bytes]

    async def make_bucket(self) -> str:
        bucket = f"bucket-{uuid4()}"
        await self.ask("PUT", f"/{bucket}")
        return bucket

    async def ask(self, method: str, path: str) -> str:
        """Ask it, without credentials, which it does not look at."""
        return await asyncio.to_thread(self._ask, method, path)

    def _ask(self, method: str, path: str) -> str:
        with closing(HTTPConnection(self.endpoint)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            assert answer.status == 200, answer
            return answer.read().decode()

    @contextmanager
    def reading(self, path: str) -> Iterator[Iterator[bytes]]:
        """The pieces of an object."""
        with closing(HTTPConnection(self.endpoint)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, answer
            yield iter(lambda: answer.read(1_000_000), b"")

    async def left(self, bucket: str) -> list[str]:
        """The keys of objects and of unfinished uploads."""
        objects = await self.ask("GET", f"/{bucket}?list-type=2")
        uploads = await self.ask("GET", f"/{bucket}?uploads")
        return re.findall("<Key>(.*?)</Key>", objects + uploads)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One server for all tests: make a bucket of your own."""
    [port] = free_ports(1)
    endpoint = f"127.0.0.1:{port}"
    server = str(Path(sys.executable).parent / "moto_server")
    command = [server, "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield S3(endpoint, process)
        finally:
            process.kill()


async def make_bucket(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A new bucket, whose server and keys are in the environment."""

    async def answers() -> bool:
        try:
            await s3_server.ask("GET", "/")
        except OSError:
            return False
        return True

    await until_asked(answers)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3_server.endpoint}")
    name = await s3_server.make_bucket()
    return Place(f"s3://{name}/bodies", lambda: s3_server.left(name))


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.slow)])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """Each kind of store in turn."""
    if request.param == "s3":
        return await make_bucket(request.getfixturevalue("s3_server"), monkeypatch)
    directory = bodies_in(tmp_path)
    return Place(directory.as_uri(), lambda: asyncio.to_thread(names_in, directory))


def bodies_in(directory: Path) -> Path:
    """Where the large bodies are, of a test that has this directory."""
    return directory / "bodies"


def kept(directory: Path) -> list[Path]:
    """The bodies that are there, and what is left of others."""
    return [path for path in directory.rglob("*") if path.is_file()]


def names_in(directory: Path) -> list[str]:
    """The names of the same."""
    return [path.name for path in kept(directory)]
