"""The outside system of the compose test: prints where each request went, and its body."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Print before the answer: what was answered has been printed."""
        body = self.rfile.read(int(self.headers["content-length"]))
        # In one piece: other threads print as well.
        os.write(1, f"{self.path} {body.decode()}\n".encode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """No other lines."""


ThreadingHTTPServer(("0.0.0.0", 9000), Receiver).serve_forever()
