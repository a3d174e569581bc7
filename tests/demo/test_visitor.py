from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from lastgood.demo.visitor import Visitor


@pytest.fixture
def site() -> Iterator[Any]:
    """A site whose answers a test sets in `statuses`, first to last; the last one stays."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            statuses = self.server.statuses  # type: ignore[attr-defined]
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.statuses = [200]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the visitor did not ask in 10 s"
        time.sleep(0.01)


def test_counts_what_it_got(site: Any) -> None:
    site.statuses = [200, 503, 500, 503, 200]
    with Visitor(f"http://127.0.0.1:{site.server_port}/") as visitor:
        until(lambda: visitor.asked >= 6)
    assert visitor.failed == 3
    assert visitor.failures == {"status 503": 2, "status 500": 1}


def test_no_answer_is_a_failed_answer(site: Any) -> None:
    port = site.server_port
    site.shutdown()
    site.server_close()
    with Visitor(f"http://127.0.0.1:{port}/") as visitor:
        until(lambda: visitor.asked >= 2)
    assert visitor.failed == visitor.asked
    assert set(visitor.failures) == {"ConnectionRefusedError"}
