from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

SECRETS = {
    "the database's password": "hunter2database",
    "the secret key": "hunter2django",
    "a cookie": "hunter2cookie",
    "a header": "hunter2header",
    "the query string": "hunter2query",
    "the body": "hunter2body",
    "an address": "203.0.113.77",
}

PROGRAM = """
import io
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults
import lastgood_inside.hook
from board import observability
observability._DATA_COLLECTION.update({changes})
from board.wsgi import application

def ask(method, path, query="", **fields):
    environ = dict(REQUEST_METHOD=method, PATH_INFO=path, QUERY_STRING=query, REMOTE_ADDR="203.0.113.77",
        HTTP_HOST="127.0.0.1", HTTP_AUTHORIZATION="Bearer hunter2header", HTTP_X_FORWARDED_FOR="203.0.113.77",
        HTTP_COOKIE="sessionid=hunter2cookie; csrftoken=" + "a" * 32, HTTP_REFERER="http://127.0.0.1/?hunter2query")
    if fields:
        body = urlencode(fields).encode()
        environ |= {{"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/x-www-form-urlencoded"}}
    setup_testing_defaults(environ)
    statuses = []
    answer = application(environ, lambda status, headers, error=None: statuses.append(status))
    list(answer)
    answer.close()
    return int(statuses[0][:3])

assert ask("GET", "/livez") == 200
assert ask("GET", "/healthz") == 503
assert ask("GET", "/", "page=1&coupon=hunter2query") == 500
login = ask("POST", "/admin/login/", "next=hunter2query", username="ada", password="hunter2body",
    csrfmiddlewaretoken="a" * 32)
assert login == 500, login
import sentry_sdk
sentry_sdk.flush()
"""


@pytest.fixture
def sentry() -> Iterator[Any]:
    """A Sentry that keeps the bytes it gets in `received`."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(gzip.decompress(data) if self.headers["Content-Encoding"] == "gzip" else data)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.received = received  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def items(received: list[bytes], kind: str) -> list[dict[str, Any]]:
    found = []
    for envelope in received:
        lines = [json.loads(line) for line in envelope.splitlines()[1:] if line]
        found += [payload for header, payload in zip(lines[::2], lines[1::2], strict=True) if header["type"] == kind]
    return found


def send(python: Any, sentry: Any, tmp_path: Any, changes: str = "") -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"build": "0123456789ab", "commit": "0123456789abcdef"}))
    done = python(
        "-c",
        PROGRAM.format(changes=changes),
        ENVIRONMENT="local",
        DATABASE_URL="postgresql://board:hunter2database@127.0.0.1:1/board",
        SECRET_KEY="hunter2django",
        SENTRY_DSN=f"http://public@127.0.0.1:{sentry.server_port}/1",
        LASTGOOD_MANIFEST=str(manifest),
        LASTGOOD_DIGEST="sha256:fedcba9876543210",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_secret_leaves(python: Any, sentry: Any, tmp_path: Any) -> None:
    send(python, sentry, tmp_path)
    errors = items(sentry.received, "event")
    assert {error["transaction"] for error in errors} == {"/", "/admin/login/"}
    assert {error["exception"]["values"][-1]["type"] for error in errors} == {"OperationalError"}
    for error in errors:
        assert (error["release"], error["dist"], error["environment"]) == (
            "board@0123456789abcdef",
            "fedcba987654",
            "local",
        )
    sent = b"".join(sentry.received).decode()
    assert {what: secret in sent for what, secret in SECRETS.items()} == dict.fromkeys(SECRETS, False)


@pytest.mark.slow
def test_the_variables_of_frames_would_tell_the_password(python: Any, sentry: Any, tmp_path: Any) -> None:
    # Why `stack_frame_variables` is off, and why the test above can fail.
    send(python, sentry, tmp_path, 'stack_frame_variables={"mode": "denylist"}')
    assert b"hunter2database" in b"".join(sentry.received)


@pytest.mark.slow
def test_requests_are_traced_but_health_checks(python: Any, sentry: Any, tmp_path: Any) -> None:
    send(python, sentry, tmp_path)
    traced = [item["transaction"] for item in items(sentry.received, "transaction")]
    assert sorted(traced) == ["/", "/admin/login/"]


def test_without_a_dsn_it_is_not_even_imported(python: Any) -> None:
    done = python("-c", "import sys, board.wsgi; print('sentry_sdk' in sys.modules)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
