"""Generates the protobuf and gRPC code of `hookline/v1` from `protos/` at every build."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def generate(root: Path) -> None:
    """Write `hookline/v1` anew."""
    target = root / "hookline" / "v1"
    target.mkdir(exist_ok=True)
    for old in target.glob("*.py*"):
        old.unlink()
    (target / "__init__.py").write_text('"""Generated from protos/ by the build."""\n')
    protos = sorted((root / "protos").rglob("*.proto"))
    subprocess.run(  # noqa: S603 - our own files, no shell
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-I", str(root / "protos")),
            *(f"--{kind}_out={root}" for kind in ("python", "grpc_python")),
            *(f"--{kind}_out={root}" for kind in ("mypy", "mypy_grpc")),
            *map(str, protos),
        ],
        check=True,
        env={"PATH": str(Path(sys.executable).parent)},
    )


class Protos(BuildHookInterface[Any]):
    """The build hook: generated code goes into wheels and next to an editable checkout."""

    PLUGIN_NAME = "custom"

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Generate, and have the wheel take what git ignores."""
        generate(Path(self.root))
        build_data["artifacts"].append("hookline/v1/*.py*")


if __name__ == "__main__":
    generate(Path(__file__).parent)
