"""Every answer is as docs/openapi.yaml says, whatever is made from that page to be sent."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.fuzz.run import target_in

PAGE = Path(__file__).parent.parent.parent / "docs" / "openapi.yaml"
ANY_ID = 'schema: {type: string, pattern: "^[A-Za-z0-9_-]{1,64}$"}'
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)
OPTIONS = (
    *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--seed", "20261"),
    *(
        "--max-examples",
        "60",
        "--generation-deterministic",
        "--no-color",
        "--workers",
        "1",
    ),
    *("--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"),
)


@pytest.mark.slow
@pytest.mark.parametrize("ids", ["ours", "any"])
async def test_answers_are_as_the_page_says(tmp_path: Path, ids: str) -> None:
    """To flows that are there, and to those that are not."""
    page = PAGE.read_text()
    assert ANY_ID in page
    if ids == "ours":
        ours = "schema: {type: string, enum: [open, small, raw, signed, keyed, basic]}"
        page = page.replace(ANY_ID, ours)
    written = tmp_path / "openapi.yaml"
    written.write_text(page)

    async with target_in(tmp_path) as target:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).parent / "schemathesis"), "run", str(written)),
            *("--url", f"http://{target.service.http}", *OPTIONS),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()

    assert process.returncode == 0, said.decode()
    assert "request.failed" not in target.stderr.read_text()
