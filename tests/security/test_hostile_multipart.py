"""Multipart made to hurt: refused, or taken with names made safe; leaves nothing."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.caller import Answer, call
from tests.instance import Instance, running
from tests.processes import Service, up

FLOW: Final = """
id: open
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
TYPE: Final = ("Content-Type", "multipart/form-data; boundary=b")
FIELD: Final = b'Content-Disposition: form-data; name="a"'


def multipart(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


HOSTILE: Final = {
    "10,000 parts": multipart(*([FIELD + b"\r\n\r\n1"] * 10_000)),
    "no closing boundary": multipart(FIELD + b"\r\n\r\n1", end=b""),
    "no closing boundary, large": multipart(
        FIELD + b"\r\n\r\n" + b"x" * 900_000, end=b""
    ),
    "no boundary at all": b"x" * 1_000,
    "an empty body": b"",
    "a header of a megabyte": multipart(
        FIELD + b"\r\nX: " + b"y" * 10**6 + b"\r\n\r\n1"
    ),
    "a head without an end": b"--b\r\n" + FIELD + b"\r\nX: " + b"y" * 10**6,
    "10,000 headers": multipart(FIELD + b"\r\nX: y" * 10_000 + b"\r\n\r\n1"),
    "a header's name of a megabyte": multipart(b"X" * 10**6 + b": y\r\n\r\n1"),
    "no disposition": multipart(b"X: y\r\n\r\n1"),
    "no name": multipart(b"Content-Disposition: form-data\r\n\r\n1"),
    "no head": multipart(b"1"),
    "NUL in a name": multipart(FIELD[:-1] + b'\x00"\r\n\r\n1'),
    "folded": multipart(b'Content-Disposition: form-data;\r\n name="a"\r\n\r\n\xff'),
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    flows, temporary = tmp_path / "flows", tmp_path / "temporary"
    flows.mkdir()
    temporary.mkdir()
    (flows / "open.yaml").write_text(FLOW)
    environment = {"TMPDIR": str(temporary)}
    arguments = ("--flows", str(flows))
    async with up(
        tmp_path / "data", *arguments, environment=environment
    ) as running_one:
        await running_one.wait_ready()
        yield running_one


async def send(address: str, body: bytes) -> Answer:
    return await call(address, "POST", "/hook/open", [TYPE], body)


def descriptors(service: Service) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))


def files_of(tmp_path: Path) -> list[Path]:
    """What is in the body store and where temporary files go."""
    places = (tmp_path / "data" / "bodies", tmp_path / "temporary")
    return [file for place in places for file in place.rglob("*") if file.is_file()]


@pytest.mark.slow
@pytest.mark.security("S18")
async def test_hostile_multipart_is_refused_and_leaves_nothing(
    service: Service, tmp_path: Path
) -> None:
    """No file, no event, no descriptor."""
    await send(service.http, HOSTILE["no head"])
    before = descriptors(service)

    statuses = {
        kind: (await send(service.http, body)).status for kind, body in HOSTILE.items()
    }

    assert {k: s for k, s in statuses.items() if s not in (400, 413)} == {}
    assert files_of(tmp_path) == []
    assert await service.metric('hookline_requests_total{verdict="accepted"') == 0
    assert descriptors(service) <= before + 1


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, FLOW) as instance:
        yield instance


NAMES: Final = (
    *(
        "../../x",
        "/etc/passwd",
        "..\\..\\x",
        "C:\\x",
        "..",
        ".",
        "",
        "a/../../b",
        "x\x7f",
    ),
    *("%2e%2e%2fx", "con", "-rf", "a" * 1_000, "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe"),
)


def named(directory: Path, *names: str) -> list[Path]:
    return [file for file in directory.rglob("*") if file.name in names]


@pytest.mark.security("S18")
@pytest.mark.parametrize("name", NAMES)
async def test_the_name_of_a_file_leads_nowhere(
    hookline: Instance, tmp_path: Path, name: str
) -> None:
    """It is a name, not a path, and the file is nowhere on the disk under it."""
    quoted = name.replace("\\", "\\\\").encode()
    head = FIELD + b'; filename="' + quoted + b'"\r\nContent-Type: text/plain'
    answer = await send(hookline.hosted.http, multipart(head + b"\r\n\r\ncanary"))

    assert answer.status in (200, 400)
    if answer.status == 200:
        await hookline.result(answer)
    assert named(tmp_path, "x", "b", "passwd") == []


@pytest.mark.security("S18")
async def test_a_part_says_nothing_of_its_framing(hookline: Instance) -> None:
    """The boundary alone does: a part's Content-Length is a header like any other."""
    part = FIELD + b"\r\nContent-Length: +5\r\n\r\nabc"
    answer = await send(hookline.hosted.http, multipart(part))

    assert answer.status in (200, 400)
    if answer.status == 200:
        assert await hookline.result(answer) == {"a": "abc"}


@pytest.mark.security("S18")
async def test_multipart_in_multipart_is_a_part_like_others(hookline: Instance) -> None:
    """What is inside is not looked into."""
    inner = b'--c\r\nContent-Disposition: form-data; name="in"\r\n\r\n1\r\n--c--'
    head = FIELD + b"\r\nContent-Type: multipart/mixed; boundary=c"
    answer = await send(hookline.hosted.http, multipart(head + b"\r\n\r\n" + inner))

    assert answer.status in (200, 400)
    if answer.status == 200:
        assert await hookline.result(answer) in ({}, {"a": inner.decode()})
