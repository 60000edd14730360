"""Asks an admin port whether its service is ready; quick, for container health checks."""

import json
import sys
from http.client import HTTPConnection, HTTPException
from typing import NoReturn

from hookline.cli.addresses import address

TIMEOUT_S = 4.0
READY = 200
UNAVAILABLE = 69
# A service that binds all addresses is asked at this machine's own.
LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask_readiness(admin: str) -> None:
    """Say whether the service is ready, and what is missing. Exits with 69 if it is not."""
    host, port = address(admin, "--admin")
    connection = HTTPConnection(LOCAL.get(host, host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        _leave(f"nothing answers at {admin} as an admin port does: {error}")
    finally:
        connection.close()
    if response.status != READY:
        missing = answer.get("missing", {}).items()
        _leave("; ".join(f"{name}: {text}" for name, text in missing) or "not ready")
    print("ready")  # noqa: T201 - the command's answer


def _leave(text: str) -> NoReturn:
    print(f"hookline: {text}", file=sys.stderr)  # noqa: T201 - talk on stderr
    sys.exit(UNAVAILABLE)
