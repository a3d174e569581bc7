from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    app = tmp_path / "app"
    shutil.copytree(ROOT / "app", app, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": f"{app}:{ROOT / 'docker'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
        "DJANGO_SETTINGS_MODULE": "board.settings",
        "ENVIRONMENT": "production",
        "DATABASE_URL": f"sqlite:///{tmp_path}/board.sqlite",
        "SECRET_KEY": "only-for-tests",
        "AWS_REGION": "eu-west-1",
        "LASTGOOD_DIGEST": "sha256:fedc",
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
    yield board
    process.kill()
    process.wait()


@pytest.mark.slow
def test_serves_as_the_image_does(board: Board) -> None:
    before = {path for path in board.log.parent.rglob("*") if path.name != "board.sqlite"}

    status, _, body = board.get("/healthz", Host="10.0.3.7:8000")
    answer: dict[str, Any] = json.loads(body)
    assert (status, answer["status"], answer["database"], answer["digest"]) == (200, "ok", "in step", "sha256:fedc")

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
    assert "environment=a" not in log
    assert {path for path in board.log.parent.rglob("*") if path.name != "board.sqlite"} == before
