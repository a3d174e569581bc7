from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
STACK = "arn:aws:cloudformation:eu-west-1:123456789012:stack/board-production/1"
TRUSTED = {"Lastgood-Stack": hashlib.sha256(STACK.encode()).hexdigest()}


class Board:
    """The board as the image runs it, in production, on a port of loopback."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        found = answer.status, dict(answer.headers), answer.read()
        connection.close()
        return found


class Wire:
    """A way to a database that can be cut, and laid again: what an outage is to the application."""

    def __init__(self, host: str, port: int) -> None:
        self._database = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.create_connection(self._database)
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Refuses connections, and breaks those that there are."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def lay(self) -> None:
        """Lets connections through again."""
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with serve(tmp_path, f"sqlite:///{tmp_path}/board.sqlite") as made:
        yield made


@contextlib.contextmanager
def serve(tmp_path: Path, database: str) -> Iterator[Board]:
    """The board on a database that it makes its tables in."""
    app = tmp_path / "app"
    shutil.copytree(ROOT / "app", app, ignore=shutil.ignore_patterns("__pycache__"))
    start = tmp_path / "start"  # in an image it is lastgood.pth that does this
    start.mkdir()
    (start / "sitecustomize.py").write_text("import lastgood_inside.hook\n", encoding="utf-8")
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": f"{app}:{ROOT / 'docker'}:{start}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
        "DJANGO_SETTINGS_MODULE": "board.settings",
        "ENVIRONMENT": "production",
        "DATABASE_URL": database,
        "SECRET_KEY": "only-for-tests",
        "AWS_REGION": "eu-west-1",
        "LASTGOOD_DIGEST": "sha256:fedc",
        "LASTGOOD_STACK": STACK,
    }
    for command in (["collectstatic", "--noinput"], ["migrate", "--verbosity=0"]):
        subprocess.run(
            [sys.executable, "manage.py", *command], cwd=app, env=environment, check=True, capture_output=True
        )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"],
            cwd=app, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    board = Board(process, port, log)
    deadline = time.monotonic() + 20
    while "Booting worker" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    try:
        yield board
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_serves_as_the_image_does(board: Board) -> None:
    before = {path for path in board.log.parent.rglob("*") if path.name != "board.sqlite"}

    status, _, body = board.get("/healthz", Host="10.0.3.7:8000", **TRUSTED)
    answer: dict[str, Any] = json.loads(body)
    assert (status, answer["status"], answer["database"], answer["digest"]) == (200, "ok", "in step", "sha256:fedc")

    assert board.get("/livez", Host="10.0.3.7:8000")[0] == 200

    status, headers, _ = board.get("/?environment=a", Host="board.example.com")
    assert (status, headers["Location"]) == (301, "https://board.example.com/?environment=a")
    assert board.get("/", Host="evil.example", X_Forwarded_Proto="https")[0] == 400

    style = next((board.log.parent / "static/releases").glob("board.*.css")).name
    status, headers, _ = board.get(f"/static/releases/{style}", Host="board.example.com", X_Forwarded_Proto="https")
    assert (status, headers["Cache-Control"]) == (200, "max-age=315360000, public, immutable")

    board.process.send_signal(signal.SIGTERM)
    assert board.process.wait(20) == 0
    log = board.log.read_text()
    assert '"GET /" 301' in log
    assert "healthz" not in log
    assert "livez" not in log
    assert "environment=a" not in log
    assert {path for path in board.log.parent.rglob("*") if path.name != "board.sqlite"} == before


@pytest.mark.slow
@pytest.mark.postgres
def test_an_outage_of_the_database_costs_no_task(tmp_path: Path) -> None:
    """The load balancer's question is answered all the while; the deploy's says what is wrong, and is well again afterwards."""
    address = urllib.parse.urlsplit(os.environ["LASTGOOD_TEST_DATABASE_URL"])
    name = f"outage_{os.getpid()}"
    with psycopg.connect(address.geturl(), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    try:
        wire = Wire(str(address.hostname), address.port or 5432)
        user = f"{address.username}:{address.password}"
        with serve(tmp_path, f"postgresql://{user}@127.0.0.1:{wire.port}/{name}") as board:

            def states() -> list[tuple[int, str]]:
                answers = [board.get(path, Host="10.0.3.7:8000", **TRUSTED) for path in ("/livez", "/healthz")]
                return [(answer[0], json.loads(answer[2]).get("database", "")) for answer in answers]

            assert states() == [(200, ""), (200, "in step")]
            wire.cut()
            for _ in range(8):  # more than one worker has threads
                assert states() == [(200, ""), (503, "unreachable")]
            wire.lay()
            assert states() == [(200, ""), (200, "in step")]
        wire.cut()
    finally:
        with psycopg.connect(address.geturl(), autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
