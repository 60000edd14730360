"""Where pip finds packages on this machine, for the builds of images on it."""

import ast
import subprocess
import sys
from collections.abc import Sequence

# Those that the Dockerfile takes; a file or directory of this machine says nothing there.
NAMES = ("index-url", "extra-index-url", "trusted-host")


def build_arguments() -> Sequence[str]:
    """What a build is handed, so that it finds packages where this machine does."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    arguments: list[str] = []
    for line in said.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in NAMES:
            variable = f"PIP_{name.upper().replace('-', '_')}"
            arguments += ["--build-arg", f"{variable}={ast.literal_eval(value)}"]
    return arguments
