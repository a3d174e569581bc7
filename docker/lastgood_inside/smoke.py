"""Asks a site for its pages and for the static files that they refer to, as a browser would: do they answer?

`python -I smoke.py` reads one JSON document from standard input and writes one to standard output. It needs the standard library alone, so
it runs where `lastgood` runs as well as in an image.

    {"url": "https://…", "hosts": […], "static": "/static/", "paths": ["/"], "declared": true}
    {"pages": [{"path", "status", "files", "wrong"}], "host": "…", "wrong": "…", "notes": […]}

`hosts` are the project's ALLOWED_HOSTS, of which one is named where the address is none of them (null: nobody knows them); below `static`
its static files lie (null: nobody knows, then style sheets and scripts count as such). What was `declared` must answer with less than 400;
what was not, with less than 500. A redirect that stays on the site is followed. A static file must answer 200, and style sheets and scripts
not with a page, as a site does that answers everything with its front page.

Nothing but the site itself is asked, by http and https alone; each answer is read to an end that is set, and so is the time of it all.
"""

from __future__ import annotations

import contextlib
import html.parser
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import Any

SECONDS = 60.0  # for all of it
ANSWER = 15.0  # seconds for one answer
LARGEST = 4 << 20  # bytes of a page that are read; the rest of it refers to nothing that counts
FILES = 40  # static files of one page that are asked for
REDIRECTS = 5
TRIES, PAUSE = 3, 1.0  # a task that has just come may be slow once
_REASON = 300


@dataclass(frozen=True)
class Asked:
    """What is asked of a site; see the module's docstring."""

    url: str
    paths: tuple[str, ...]
    declared: bool
    hosts: tuple[str, ...] | None = None
    static: str | None = None


@dataclass(frozen=True)
class Answer:
    """HTTP's answer; `status` is 0 where there was none, and `text` then says why. `location` is where a redirect leads, absolute."""

    status: int
    text: str = ""
    kind: str = ""
    location: str = ""
    reason: str = ""


@dataclass
class Page:
    """What came of a path. `files` of its site were asked for."""

    path: str
    status: int = 0
    files: int = 0
    wrong: str = ""


@dataclass
class Result:
    """What came of it all: `wrong` is the first thing that is, empty for none. `host` is the name that was asked for."""

    host: str = ""
    wrong: str = ""
    pages: list[Page] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class References(html.parser.HTMLParser):
    """Collects what a page refers to: (kind, address), where kind is `style`, `script` or `other`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base = ""
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one tag."""
        given = {name: value or "" for name, value in attrs}
        if tag == "base" and not self.base:
            self.base = given.get("href", "")
        elif tag == "link":
            rel = given.get("rel", "").lower().split()
            if {"stylesheet", "icon", "preload", "modulepreload", "manifest", "apple-touch-icon"} & set(rel):
                self._add(given.get("href", ""), "style" if "stylesheet" in rel and "alternate" not in rel else "other")
        elif tag == "script":
            self._add(given.get("src", ""), "script")
        elif tag == "img":
            self._add(given.get("src", ""), "other")

    def _add(self, address: str, kind: str) -> None:
        if address.strip():
            self.found.setdefault(address.strip(), kind)


def accepted(host: str, hosts: tuple[str, ...]) -> bool:
    """Whether Django takes that name for its own with these ALLOWED_HOSTS."""
    name = host.lower().rstrip(".")
    return any(
        pattern == "*"
        or pattern == name
        or (pattern.startswith(".") and (name.endswith(pattern) or name == pattern[1:]))
        for pattern in map(str.lower, hosts)
    )


def named(url: str, hosts: tuple[str, ...] | None) -> tuple[str, str]:
    """Return the name that a site is asked by, empty for the address's own, and what is wrong where it takes none."""
    own = urllib.parse.urlsplit(url).hostname or ""
    if hosts is None or accepted(own, hosts):
        return "", ""
    if not hosts:
        return (
            "",
            "ALLOWED_HOSTS is empty in its settings, so every visitor gets 400 Bad Request: name the site's domain there",
        )
    known = [host.lstrip(".") for host in hosts if host.strip(".")]
    # A developer's names are the last choice.
    known.sort(key=lambda host: host in ("localhost", "127.0.0.1", "[::1]"))
    return known[0], ""


class Site:
    """One site, asked until `end`."""

    def __init__(self, asked: Asked, host: str, end: float) -> None:
        self.asked, self.host, self.end = asked, host, end
        self.origin = urllib.parse.urlsplit(asked.url)
        self.opener = urllib.request.OpenerDirector()
        for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
            self.opener.add_handler(handler())

    def address(self, path: str, base: str = "") -> str:
        """Return the absolute address of what a page at `base` calls `path`; empty where that is not of this site."""
        try:
            whole = urllib.parse.urlsplit(urllib.parse.urljoin(base or f"{self.asked.url}/", path))
            name, port = whole.hostname or "", whole.port
        except ValueError:
            return ""
        if whole.scheme not in ("http", "https") or whole.username is not None:
            return ""
        if self.host and name == self.host.lower():
            # What the site calls itself is asked at the address that we know it by.
            whole = whole._replace(scheme=self.origin.scheme, netloc=self.origin.netloc)
            name, port = self.origin.hostname or "", self.origin.port
        elif name != (self.origin.hostname or ""):
            return ""
        elif whole.scheme == self.origin.scheme and port != self.origin.port:
            return ""  # what listens on another port is another site
        quoted = urllib.parse.quote(whole.path or "/", safe="/%:@!$&'()*+,;=~-._")
        query = urllib.parse.quote(whole.query, safe="/%:@!$&'()*+,;=~-._?")
        return urllib.parse.urlunsplit((whole.scheme, whole.netloc, quoted, query, ""))

    def get(self, address: str) -> Answer:
        """Ask once. Never raises."""
        left = self.end - time.monotonic()
        if left <= 0:
            return Answer(0, f"not asked any more: {SECONDS:.0f} seconds were over")
        headers = {"User-Agent": "lastgood-smoke", "Accept": "text/html,*/*;q=0.8", "Accept-Encoding": "identity"}
        if self.host:
            headers["Host"] = self.host
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - address() lets http and https through alone
        try:
            with contextlib.closing(self.opener.open(request, timeout=min(ANSWER, left))) as answer:
                body = b""
                deadline = time.monotonic() + min(ANSWER, left)
                while len(body) < LARGEST and time.monotonic() < deadline:
                    part = answer.read1(65536)
                    if not part:
                        break
                    body += part
                kind = str(answer.headers.get_content_type())
                text = body.decode(answer.headers.get_content_charset() or "utf-8", "replace")
                location = urllib.parse.urljoin(address, answer.headers.get("Location", ""))
                return Answer(
                    answer.status, text, kind, location if 300 <= answer.status < 400 else "", answer.reason or ""
                )
        except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
            return Answer(0, str(getattr(error, "reason", "") or error or type(error).__name__))

    def page(self, path: str) -> tuple[str, Answer]:
        """Ask for a path and follow where it leads on this site. Return the address that answered in the end, and its answer."""
        address = self.address(path)
        if not address:
            return "", Answer(0, f"{path} is no path of {self.asked.url}")
        answer = self.get(address)
        for _ in range(REDIRECTS):
            following = self.address(answer.location) if answer.location else ""
            if not following or following == address:
                break
            then = self.get(following)
            if then.status == 0 and not self.asked.declared and following.split(":")[0] != address.split(":")[0]:
                break  # by https something else may stand in front of the site, which this address does not lead through
            address, answer = following, then
        return address, answer

    def look(self, path: str) -> Page:
        """Ask for a path, and for the static files of its page."""
        found = Page(path)
        address, answer = self.page(path)
        found.status = answer.status
        found.wrong = wrong_page(path, answer, self.asked.declared)
        if found.wrong or answer.status != 200 or answer.kind != "text/html":
            return found
        references = References()
        with contextlib.suppress(AssertionError):  # what the parser says of some broken declarations
            references.feed(answer.text)
        base = urllib.parse.urljoin(address, references.base)
        wanted: dict[str, str] = {}
        for reference, kind in references.found.items():
            file = self.address(reference, base)
            if file and self.is_static(file, kind):
                wanted.setdefault(file, kind)
        for file, kind in list(wanted.items())[:FILES]:
            found.files += 1
            found.wrong = wrong_file(file, kind, self.get(file))
            if found.wrong:
                found.wrong = f"{path} refers to {found.wrong}"
                return found
        return found

    def is_static(self, address: str, kind: str) -> bool:
        """Whether a page is broken without what is at that address."""
        if self.asked.static is None:
            return kind in ("style", "script")
        below = self.address(self.asked.static)
        return bool(below) and address.startswith(below)


def wrong_page(path: str, answer: Answer, declared: bool) -> str:
    """Return what is wrong with the answer of a page; empty for nothing."""
    if answer.status == 0:
        return f"{path} does not answer: {answer.text}"
    if answer.status >= (400 if declared else 500):
        return f"{path} answered {answer.status} {answer.reason}{said(answer)}".rstrip()
    return ""


def wrong_file(address: str, kind: str, answer: Answer) -> str:
    """Return what is wrong with the answer of a static file; empty for nothing."""
    name = urllib.parse.urlsplit(address).path
    if answer.status == 0:
        return f"{name}, which does not answer: {answer.text}"
    if answer.status != 200:
        return f"{name}, which answered {answer.status} {answer.reason}".rstrip()
    if kind in ("style", "script") and answer.kind == "text/html":
        return f"{name}, which answered with a page in place of the file"
    return ""


def said(answer: Answer) -> str:
    """Return what a bad answer says of itself: its title, else its text where it is no page."""
    title = answer.text.partition("<title>")[2].partition("</title>")[0] if answer.kind == "text/html" else answer.text
    words = " ".join(title.split())[:_REASON]
    return f" ({words})" if words and words not in (answer.reason, f"{answer.status} {answer.reason}") else ""


def check(asked: Asked, seconds: float = SECONDS) -> Result:
    """Ask for everything, each path until it answers well or TRIES are over. Never raises."""
    host, wrong = named(asked.url, asked.hosts)
    result = Result(host=host, wrong=wrong)
    if wrong:
        return result
    if host:
        result.notes.append(
            f"its ALLOWED_HOSTS do not name {urllib.parse.urlsplit(asked.url).hostname}, so it was asked as {host}: who comes by the "
            "address gets 400 Bad Request"
        )
    site = Site(asked, host, time.monotonic() + seconds)
    for path in asked.paths:
        for number in range(TRIES):
            page = site.look(path)
            if not page.wrong or time.monotonic() + PAUSE >= site.end:
                break
            if number < TRIES - 1:
                time.sleep(PAUSE)
        result.pages.append(page)
        result.wrong = result.wrong or page.wrong
    return result


def main() -> None:
    """Read what is asked from standard input, and write what came of it."""
    given: dict[str, Any] = json.load(sys.stdin)
    for name in ("paths", "hosts"):
        given[name] = None if given.get(name) is None else tuple(map(str, given[name]))
    json.dump(asdict(check(Asked(**given))), sys.stdout)


if __name__ == "__main__":
    main()
