"""A request as the commands show it."""

import base64
from typing import Any


def request_row(request: Any) -> dict[str, Any]:
    """Its head, and its body as text where it is text."""
    body = request.body
    try:
        content = {"body": body.decode()}
    except UnicodeDecodeError:
        content = {"body_base64": base64.b64encode(body).decode()}
    return {
        "request_id": request.request_id,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "remote": request.remote,
        "headers": [
            [header.name.decode("latin-1"), header.value.decode("latin-1")]
            for header in request.headers
        ],
        **content,
    }
