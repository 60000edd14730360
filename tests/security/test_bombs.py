"""Little that unpacks to a lot: refused at the flow's limit, in little memory."""

import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import brotli
import pytest
from backports import zstd

from benchmarks.consumption import forget_peak, peak_resident_mb
from tests.caller import call
from tests.processes import Service, up

pytestmark = pytest.mark.slow

LIMIT_MB: Final = 10
ACCEPTED: Final = 'hookline_requests_total{verdict="accepted"'
FLOW: Final = f"""
id: open
trigger: {{webhook: {{max_body: {LIMIT_MB}MB, auth: {{type: none}}}}}}
steps: [{{id: keep, use: transform, with: {{body: 1}}}}]
"""
PLAIN: Final = b'"' + b"0" * 200_000_000 + b'"'
MEMBER: Final = gzip.compress(b"0" * 1_000_000, mtime=0)
BOMBS: Final[dict[str, Callable[[], tuple[str, bytes]]]] = {
    "gzip": lambda: ("gzip", gzip.compress(PLAIN, 6, mtime=0)),
    "deflate": lambda: ("deflate", zlib.compress(PLAIN)),
    "br": lambda: ("br", brotli.compress(PLAIN, quality=3)),
    "zstd": lambda: ("zstd", zstd.compress(PLAIN)),
    "gzip in gzip": lambda: ("gzip, gzip", gzip.compress(gzip.compress(PLAIN))),
    "gzip ten times": lambda: (", ".join(["gzip"] * 10), _packed(PLAIN, 10)),
    "members in a row": lambda: ("gzip", MEMBER * 200),
    "empty members in a row": lambda: ("gzip", gzip.compress(b"", mtime=0) * 100_000),
    "frames in a row": lambda: ("zstd", zstd.compress(b"0" * 1_000_000) * 200),
}
TYPES: Final = (
    "application/json",
    "application/octet-stream",
    "multipart/form-data; boundary=0",
)


def _packed(content: bytes, times: int) -> bytes:
    for _ in range(times):
        content = gzip.compress(content, mtime=0)
    return content


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Service]:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "open.yaml").write_text(FLOW)
    async with up(tmp_path / "data", "--flows", str(flows)) as service:
        await service.wait_ready()
        yield service


@pytest.mark.security("S15")
@pytest.mark.parametrize("kind", BOMBS)
async def test_a_bomb_is_refused_within_twice_the_limit_of_memory(
    hookline: Service, tmp_path: Path, kind: str
) -> None:
    """Whatever its content claims to be; nothing of it stays."""
    encoding, bomb = BOMBS[kind]()
    pid = hookline.process.pid
    warm = await call(
        hookline.http, "POST", "/hook/open", [("Content-Type", "x/y")], b"1"
    )
    forget_peak(pid)
    before_mb = peak_resident_mb(pid)

    for content_type in TYPES:
        headers = [("Content-Type", content_type), ("Content-Encoding", encoding)]
        answer = await call(hookline.http, "POST", "/hook/open", headers, bomb)
        wanted = (
            {400, 413, 415}
            if "empty" in kind or "multi" in content_type
            else {413, 415}
        )
        if kind == "gzip ten times":
            wanted = {400, 413, 415}
        assert answer.status in wanted, answer

    assert warm.status == 200
    assert peak_resident_mb(pid) - before_mb < 2 * LIMIT_MB
    assert [
        one for one in (tmp_path / "data" / "bodies").rglob("*") if one.is_file()
    ] == []
    assert await hookline.metric(ACCEPTED) == 1
