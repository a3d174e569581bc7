"""A site is asked as a browser asks it, and for nothing that is not its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from lastgood_inside import smoke
from lastgood_inside.smoke import Asked

FILE = Path(smoke.__file__)
PAGE = """<!doctype html><head><title>Shop</title>
<link rel="stylesheet" href="/static/shop.0123456789ab.css"><link rel="icon" href="/favicon.ico">
<script src="/static/shop.js"></script><script src="https://cdn.example/x.js"></script><script>1</script>
</head><img src="/media/gone.png"><img src="static/logo.svg">"""


class Site:
    """What answers: path → (status, kind, body), a redirect where the kind begins with a slash or a scheme. `asked` are (host, path)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, str]] = {
            "/": (200, "text/html; charset=utf-8", PAGE),
            "/static/shop.0123456789ab.css": (200, "text/css", "x"),
            "/static/shop.js": (200, "text/javascript", "x"),
            "/static/logo.svg": (200, "image/svg+xml", "x"),
        }
        self.asked: list[tuple[str, str]] = []
        self.url = ""

    def check(self, *paths: str, declared: bool = True, **more: Any) -> smoke.Result:
        return smoke.check(Asked(self.url, paths, declared, **more))

    @property
    def paths(self) -> list[str]:
        return [path for _, path in self.asked]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    found = Site()
    monkeypatch.setattr(smoke, "PAUSE", 0.0)
    monkeypatch.setattr(smoke, "TRIES", 1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.headers["Host"], self.path))
            status, kind, body = found.answers.get(self.path, (404, "text/html", "<title>Not Found</title>"))
            self.send_response(status)
            self.send_header("Location" if 300 <= status < 400 else "Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()


def test_a_page_and_its_static_files(site: Site) -> None:
    result = site.check("/", static="/static/")
    assert (result.wrong, result.pages) == ("", [smoke.Page("/", 200, 3)])
    assert site.paths == ["/", "/static/shop.0123456789ab.css", "/static/shop.js", "/static/logo.svg"]
    assert {host for host, _ in site.asked} == {site.url.removeprefix("http://")}


def test_where_nobody_says_what_is_static(site: Site) -> None:
    assert site.check("/").pages == [smoke.Page("/", 200, 2)], "style sheets and scripts are"


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ((404, "text/html", ""), "/ refers to /static/shop.js, which answered 404 Not Found"),
        ((500, "text/html", ""), "/ refers to /static/shop.js, which answered 500 Internal Server Error"),
        ((200, "text/html", "<p>"), "/ refers to /static/shop.js, which answered with a page in place of the file"),
        ((302, "/login/", ""), "/ refers to /static/shop.js, which answered 302 Found"),
    ],
)
def test_a_static_file_that_is_not_there(site: Site, answer: tuple[int, str, str], wrong: str) -> None:
    site.answers["/static/shop.js"] = answer
    assert site.check("/", static="/static/", declared=False).wrong == wrong


@pytest.mark.parametrize(
    ("answer", "declared", "undeclared"),
    [
        ((200, "text/plain", "x"), "", ""),
        ((404, "text/html", "<title>Page not found</title>"), "/ answered 404 Not Found (Page not found)", ""),
        ((403, "text/plain", "no"), "/ answered 403 Forbidden (no)", ""),
        (
            (500, "text/html", "<title>Server Error (500)</title>"),
            *["/ answered 500 Internal Server Error (Server Error (500))"] * 2,
        ),
        ((301, "https://login.example/", ""), "", ""),
        ((302, "file:///etc/passwd", ""), "", ""),
        ((302, "/login/", ""), "/ answered 404 Not Found", ""),
        ((302, "/broken/", ""), *["/ answered 503 Service Unavailable"] * 2),
    ],
)
def test_what_counts_as_an_answer(site: Site, answer: tuple[int, str, str], declared: str, undeclared: str) -> None:
    site.answers["/"] = answer
    site.answers["/broken/"] = (503, "text/html", "")
    assert (site.check("/").wrong, site.check("/", declared=False).wrong) == (declared, undeclared)


def test_a_login_page_behind_a_redirect_is_looked_at(site: Site) -> None:
    site.answers["/private/"] = (302, "/login/?next=/private/", "")
    site.answers["/login/?next=/private/"] = (200, "text/html", "<script src=/static/gone.js></script>")
    assert site.check("/private/", static="/static/").wrong == (
        "/private/ refers to /static/gone.js, which answered 404 Not Found"
    )


def test_a_circle_ends(site: Site) -> None:
    site.answers["/a/"], site.answers["/b/"] = (302, "/b/", ""), (302, "/a/", "")
    assert site.check("/a/").wrong == ""
    assert len(site.asked) == smoke.REDIRECTS + 1


def test_nothing_listens() -> None:
    result = smoke.check(Asked("http://127.0.0.1:1", ("/",), False))
    assert result.wrong == "/ does not answer: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("reference", "address"),
    [
        ("/static/a b.css", "/static/a%20b.css"),
        ("static/ü.css?v=1", "/static/%C3%BC.css?v=1"),
        ("https://cdn.example/a.css", ""),
        ("//127.0.0.1:9/a.css", ""),
        ("//cdn.example/a.css", ""),
        ("file:///etc/passwd", ""),
        ("data:text/css,x", ""),
        ("ftp://127.0.0.1/x", ""),
        ("http://u:p@127.0.0.1:8000/x", ""),
        ("http://[::1", ""),
        ("http://127.0.0.1:99999999/x", ""),
        ("javascript:x", ""),
        ("/x\r\nHost: evil", "/xHost:%20evil"),
    ],
)
def test_only_what_is_of_the_site_is_asked(reference: str, address: str) -> None:
    url = "http://127.0.0.1:8000"
    found = smoke.Site(Asked(url, (), True), "", 0.0).address(reference)
    assert found == (f"{url}{address}" if address else "")


@pytest.mark.parametrize(
    ("url", "hosts", "expected"),
    [
        ("http://lb.example", ["*"], ("", "")),
        ("http://lb.example", ["lb.example"], ("", "")),
        ("http://a.lb.example", [".LB.example"], ("", "")),
        ("http://lb.example", None, ("", "")),
        ("http://lb.example", ["localhost", ".shop.example", "www.shop.example"], ("shop.example", "")),
        ("http://lb.example", ["localhost"], ("localhost", "")),
    ],
)
def test_by_which_name_it_is_asked(url: str, hosts: list[str] | None, expected: tuple[str, str]) -> None:
    assert smoke.named(url, None if hosts is None else tuple(hosts)) == expected


def test_a_name_that_the_project_takes(site: Site) -> None:
    site.answers["/"] = (301, "http://shop.example/home/", "")
    site.answers["/home/"] = (200, "text/html", '<link rel=stylesheet href="http://shop.example/static/shop.js">')
    result = site.check("/", hosts=("shop.example",), static="/static/")
    assert (result.wrong, result.host, result.pages[0].files) == ("", "shop.example", 1)
    assert site.asked == [("shop.example", path) for path in ("/", "/home/", "/static/shop.js")]
    assert result.notes == [
        "its ALLOWED_HOSTS do not name 127.0.0.1, so it was asked as shop.example: who comes by the address gets 400 Bad Request"
    ]


def test_a_site_that_takes_no_name(site: Site) -> None:
    assert site.check("/", hosts=()).wrong == (
        "ALLOWED_HOSTS is empty in its settings, so every visitor gets 400 Bad Request: name the site's domain there"
    )
    assert site.asked == []


def test_it_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "TRIES", 3)
    site.answers["/"] = (503, "text/html", "")
    assert site.check("/").wrong == "/ answered 503 Service Unavailable"
    assert site.paths == ["/"] * 3


def test_the_time_has_an_end(site: Site) -> None:
    result = smoke.check(Asked(site.url, ("/", "/x/"), True), seconds=0.0)
    assert result.wrong == "/ does not answer: not asked any more: 60 seconds were over"
    assert site.asked == []


def test_a_page_without_an_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "LARGEST", 100_000)
    site.answers["/"] = (200, "text/html", PAGE + "x" * 1_000_000 + "<script src=/static/gone.js>")
    assert site.check("/", static="/static/").wrong == ""


def test_as_a_program(site: Site) -> None:
    asked = {"url": site.url, "paths": ["/"], "declared": True, "hosts": ["*"], "static": "/static/"}
    done = subprocess.run(
        [sys.executable, "-I", str(FILE)], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    page = {"path": "/", "status": 200, "files": 3, "wrong": ""}
    assert json.loads(done.stdout) == {"host": "", "wrong": "", "pages": [page], "notes": []}
