"""The smoke test asks a site, by http or https, and believes nothing that the answer says but as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from lastgood.deploy import smoke


class Site(BaseHTTPRequestHandler):
    """Sends what `answer` says."""

    answer: tuple[int, str, bytes] = (200, "", b"{}")

    def do_GET(self) -> None:
        """One answer, or a way on."""
        status, location, body = self.answer
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_of_this_machine_is_no_site(tmp_path: Path) -> None:
    (tmp_path / smoke.PATH.strip("/")).write_text(
        json.dumps({"digest": "sha256:1", "database": "in step"}), encoding="utf-8"
    )
    for url in (f"file://{tmp_path}", f"FILE://{tmp_path}", "ftp://127.0.0.1", "data:,x", ""):
        assert smoke.ask(url) == smoke.Health(
            0, detail=f"{url} is no address of a site: set url in pyproject.toml to one with http:// or https://"
        )


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1:9/x"])
def test_nor_does_an_answer_lead_to_one(site: str, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    monkeypatch.setattr(Site, "answer", (302, location, b""))
    health = smoke.ask(site)
    assert (health.digest, health.database) == ("", "")
    assert health.status in (0, 302)


def test_what_it_says_is_text(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {
        "reason": "postgresql://u:p@ss/w@db/x\n::add-mask::a\x1b[2J",
        "interrupted": ["a\n::error::b"],
        "digest": "d" * 5000,
    }
    monkeypatch.setattr(Site, "answer", (503, "", json.dumps(facts).encode()))
    health = smoke.ask(site)
    assert health.detail == "postgresql://***@db/x\\n::add-mask::a\\x1b[2J"
    assert health.notes == ("interrupted: a\\n::error::b",)
    assert len(health.digest) == 2000
    monkeypatch.setattr(Site, "answer", (502, "", b"x" * 190 + b" redis://:secret-of-the-cache@host"))
    shown = smoke.ask(site).detail
    assert "secret" not in shown
    assert len(shown) == 200
