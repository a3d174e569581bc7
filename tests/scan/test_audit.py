"""Known vulnerabilities, asked of a service on this machine; what can't be asked is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lastgood.report import scan as report
from lastgood.scan import audit, measure
from pip_audit._service.interface import ServiceError, SkippedDependency
from pip_audit._service.osv import OsvService
from pip_audit._service.pypi import PyPIService

ADVISORY = {
    "id": "GHSA-1", "aliases": ["CVE-2026-1", "PYSEC-2026-7"], "summary": "a hole", "published": "2026-01-02T03:04:05Z",
    "affected": [{"package": {"name": "django", "ecosystem": "PyPI"},
                  "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "5.2.20"}]}]}],
}  # fmt: skip
TRACKER = {
    "openssl": {
        "CVE-2026-2": {"releases": {"trixie": {"status": "resolved", "fixed_version": "3.5.10-1", "urgency": "high"}}},
        "CVE-2026-3": {"releases": {"trixie": {"status": "resolved", "fixed_version": "3.5.8-1", "urgency": "high"}}},
        "CVE-2026-4": {"releases": {"trixie": {"status": "open", "urgency": "low"}}},
        "CVE-2026-5": {"releases": {"trixie": {"status": "open", "urgency": "unimportant"}}},
        "CVE-2026-6": {"releases": {"bookworm": {"status": "open", "urgency": "high"}}},
        "CVE-2026-7": {"releases": {"trixie": {"status": "resolved", "fixed_version": "0", "urgency": "low"}}},
    }
}
STATUS = b"Package: libssl3t64\nVersion: 3.5.9-1+b2\nArchitecture: amd64\nSource: openssl (3.5.9-1)\n"


class _Handler(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(query)
        self.answer({"vulns": [ADVISORY]} if query["package"]["name"] == "django" else {})

    def do_GET(self) -> None:
        self.answer(TRACKER)

    def answer(self, data: object) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[audit.Services]:
    """Both services, on a loopback port."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    _Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        here = f"http://127.0.0.1:{server.server_port}"
        yield audit.Services("trixie", f"{here}/v1/query", f"{here}/tracker", index=False)
        server.shutdown()
        thread.join()


@pytest.fixture
def image(plant: Any, distribution: Any) -> Any:
    content = distribution("Django", "5.2.19", {"django/a.py": b"a"}) | distribution("fine", "1", {"fine.py": b"f"})
    return plant(base={"var/lib/dpkg/status.d/libssl3t64": STATUS}, dependencies=content)


def test_what_is_known(image: Any, services: audit.Services) -> None:
    facts = measure.scan(image, 10**6, measure.Options(services=services))
    assert [(one["subject"], one["text"], one["do"]) for one in facts["findings"]] == [
        ("django PYSEC-2026-7", "django 5.2.19 has the known vulnerability PYSEC-2026-7",
         "lock django 5.2.20 or newer with `lastgood lock --upgrade`"),
        ("libssl3t64 CVE-2026-2", "libssl3t64 3.5.9-1+b2 has the known vulnerability CVE-2026-2",
         "openssl 3.5.10-1 mends it: lock it with `lastgood lock --upgrade`"),
    ]  # fmt: skip
    assert facts["vulnerabilities"] == {
        "checked": ["2 Python distributions (OSV)", "1 Debian packages (Debian's security tracker)"],
        "not_checked": [],
        "without_a_fix": 1,
    }
    assert [(one["package"]["name"], one["version"]) for one in _Handler.asked] == [("django", "5.2.19"), ("fine", "1")]
    text = report.text(facts)
    assert "1 known vulnerabilities of Debian packages have no fix in this release yet" in text
    assert "no known vulnerability" not in text
    accepted = measure.Options(
        services=services, accept=("vulnerability: django PYSEC-2026-7", "vulnerability: libssl3t64 CVE-2026-2")
    )
    assert measure.scan(image, 10**6, accepted)["findings"] == []


def test_who_does_not_answer_is_named(image: Any, tmp_path: Path) -> None:
    nobody = audit.Services("trixie", "http://127.0.0.1:9/v1/query", "http://127.0.0.1:9/tracker", index=False)
    facts = measure.scan(image, 10**6, measure.Options(services=nobody))
    assert facts["findings"] == []
    first, second = facts["vulnerabilities"]["not_checked"]
    assert first.startswith("2 Python distributions: OSV did not answer (")
    assert (
        second
        == "1 Debian packages: Debian's security tracker did not answer (ConnectionRefusedError: [Errno 111] Connection refused)"
    )
    assert f"not checked: {first}\nnot checked: {second}\n" in report.text(facts)
    assert facts["vulnerabilities"]["checked"] == []


def test_damaged_data_of_the_tracker_is_not_kept(image: Any, services: audit.Services, tmp_path: Path) -> None:
    kept = tmp_path / "cache/audit/debian.json"
    measure.scan(image, 10**6, measure.Options(services=services))
    kept.write_text("{", encoding="utf-8")
    facts = measure.scan(image, 10**6, measure.Options(services=services))
    assert facts["vulnerabilities"]["not_checked"][0].startswith(
        "1 Debian packages: Debian's security tracker did not answer ("
    )


@pytest.mark.parametrize(
    ("known", "checked", "not_checked"),
    [
        (("fine",), ["1 Python distributions (the Python index)"], ["django: the Python index does not know them"]),
        ((), [], ["2 Python distributions: OSV did not answer (gone); the Python index knows none of them"]),
    ],
)
def test_what_a_service_does_not_know_was_not_checked(
    image: Any, monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...], checked: list[str], not_checked: list[str]
) -> None:
    def query(_self: object, spec: Any) -> tuple[Any, list[Any]]:
        return (spec if spec.name in known else SkippedDependency(name=spec.name, skip_reason="not there")), []

    def gone(_self: object, _spec: Any) -> None:
        raise ServiceError("gone")

    monkeypatch.setattr(OsvService, "query", gone)
    monkeypatch.setattr(PyPIService, "query", query)
    monkeypatch.setattr(audit, "_cause", lambda _error: "gone")
    found = measure.scan(
        image, 10**6, measure.Options(services=audit.Services("trixie", tracker="http://127.0.0.1:9/"))
    )
    assert found["vulnerabilities"]["checked"] == checked
    assert found["vulnerabilities"]["not_checked"][:-1] == not_checked
