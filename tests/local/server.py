"""What the test image runs: `serve` answers every path with its version, `migrate` ends as its task definition says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """200 with the version and what the test wants to know of the container; 500 on /healthz where it is told to be ill."""

    def do_GET(self) -> None:
        ill = self.path == "/healthz" and os.environ.get("MODE") == "ill"
        lines = [os.environ["VERSION"], os.environ.get("PASSWORD", ""), f"{os.getuid()}:{os.getgid()}", _read_only()]
        body = "\n".join([*lines, self.headers["Host"]]).encode()
        self.send_response(500 if ill else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


def _read_only() -> str:
    Path("/tmp/writable").touch()
    try:
        Path("/written").touch()
    except OSError:
        return "read-only"
    return "writable"


def serve() -> None:
    # By its definition, or by what somebody made of a secret.
    if "crash" in (os.environ.get("MODE"), os.environ.get("PASSWORD")):
        print("cannot start", file=sys.stderr)
        sys.exit(1)
    server = ThreadingHTTPServer(("0.0.0.0", 8000), Handler)  # noqa: S104  a container's own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


def wait() -> None:
    """Runs until SIGTERM, and then ends with a status of its own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    print("waiting", flush=True)
    while True:
        time.sleep(60)


def migrate() -> None:
    print("x" * 20000)
    print(f"migrated by {os.environ['VERSION']} to {os.environ['TARGET']}", flush=True)
    sys.exit(int(os.environ.get("STATUS", "0")))


def release() -> None:
    """As the migrator: the last line is the result, also of one that is stopped. A slow one takes its time to stop."""
    slow = os.environ.get("MODE") == "slow"

    def stop(*_: object) -> None:
        time.sleep(2)
        print(f"{time.time()} {os.environ['VERSION']} stopped", flush=True)
        print(json.dumps({"status": "failed", "reason": "stopped by a signal"}), flush=True)
        sys.exit(5)

    signal.signal(signal.SIGTERM, stop)
    print(f"{time.time()} {os.environ['VERSION']} began", flush=True)
    while slow:
        time.sleep(0.1)
    print(f"{time.time()} {os.environ['VERSION']} ended", flush=True)
    print(json.dumps({"status": "done"}), flush=True)


{"serve": serve, "wait": wait, "migrate": migrate, "-m": release}[sys.argv[1]]()
