"""The smaller decisions: is it healthy, is it alone, what to go back to, what to say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from lastgood.deploy import history, progress, rollback, smoke, status, verify
from lastgood.deploy.place import Place
from lastgood.deploy.smoke import Health
from lastgood.deploy.stack import Event
from lastgood.errors import LastgoodError, UsageError
from lastgood.record.release import Release

A = "sha256:" + "61" * 32
B = "sha256:" + "62" * 32


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (Health(200, A, "in step"), ""),
        (Health(0, detail="Connection refused"), "no answer: Connection refused"),
        (Health(503, A, "behind", "it lacks board.0002"), "answered 503: it lacks board.0002"),
        (Health(500), "answered 500: no reason given"),
        (Health(200, "", "in step"), "answered without naming its digest"),
        (Health(200, B, "in step"), "the build that answers is sha256:626262626262, not sha256:616161616161"),
        (Health(200, A, "ahead"), "the database is ahead, not in step"),
        (Health(200, A), "the database is not named, not in step"),
    ],
)
def test_smoke_verdict(health: Health, expected: str) -> None:
    assert smoke.verdict(health, A) == expected


@contextmanager
def serving(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/healthz"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (200, b'{"digest": "d", "database": "in step"}', Health(200, "d", "in step")),
        (503, b'{"digest": "d", "database": "behind", "reason": "r"}', Health(503, "d", "behind", "r")),
        (
            200,
            b'{"digest": "d", "database": "in step", "tampered": ["a.1", "a.2"], "interrupted": [], "missing": []}',
            Health(200, "d", "in step", notes=("tampered: a.1, a.2",)),
        ),
        (502, b"<html>Bad gateway</html>\n", Health(502, detail="<html>Bad gateway</html>")),
        (200, b"[]", Health(200, detail="[]")),
    ],
)
def test_asking(code: int, body: bytes, expected: Health) -> None:
    with serving(code, body) as url:
        assert smoke.ask(url) == expected


def test_asking_where_nothing_listens() -> None:
    with serving(200, b"") as url:
        pass
    assert smoke.ask(url) == Health(0, detail="[Errno 111] Connection refused")


def test_the_smoke_test_waits_for_the_new_build() -> None:
    answers = [Health(0, detail="x"), Health(200, B, "in step"), Health(200, A, "in step")]
    found = smoke.wait("http://site", A, pause=0, ask=lambda url, stack: answers.pop(0))
    assert {key: found[key] for key in ("url", "digest", "database", "tries")} == {
        "url": "http://site",
        "digest": A,
        "database": "in step",
        "tries": 3,
    }


def test_the_smoke_test_ends() -> None:
    with pytest.raises(LastgoodError) as error:
        smoke.wait("http://site", A, deadline=0, ask=lambda url, stack: Health(500))
    assert str(error.value) == "the smoke test failed: after 0 s http://site/healthz: answered 500: no reason given"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (verify.Facts("UPDATE_COMPLETE", A, (A, A), Health(200, A, "in step")), ""),
        (verify.Facts(None, "", (), Health(0)), "there is no stack"),
        (verify.Facts("UPDATE_COMPLETE", A, (), Health(0)), "no task is running"),
        (
            verify.Facts("UPDATE_COMPLETE", A, (A, B), Health(200, A, "in step")),
            "tasks of sha256:626262626262 are running, not of sha256:616161616161 alone",
        ),
        (verify.Facts("UPDATE_COMPLETE", A, (A,), Health(200, A, "ahead")), "the database is ahead, not in step"),
    ],
)
def test_verify(facts: verify.Facts, expected: str) -> None:
    assert verify.wrong(facts, A) == expected


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"image": f"registry/board@{A}", "imageDigest": B}, A),
        ({"image": "registry/board:tag", "imageDigest": B}, B),
        ({}, ""),
    ],
)
def test_the_digest_of_a_container(container: dict[str, str], expected: str) -> None:
    assert verify.digest(container) == expected


# What to go back to.


def releases(facts: Any, *lines: str) -> list[Release]:
    """From `3 b good` lines, newest first."""
    made = []
    for line in lines:
        number, name, state = line.split()
        made.append(Release(int(number), state, "deploy", facts(name), "ada", "2026-01-01T00:00:00.000Z"))
    return made


@pytest.mark.parametrize(
    ("lines", "last", "to", "recreate", "expected"),
    [
        (("3 c good", "2 b good", "1 a good"), 3, None, False, 2),
        (("3 c good", "2 b failed", "1 a good"), 3, None, False, 1),
        (("4 d failed", "3 c good", "2 b undone", "1 a good"), 3, None, False, 1),
        (("3 a good", "2 b undone", "1 a good"), 3, None, False, None),
        (("2 a good", "1 a good"), 2, None, False, None),
        (("3 c good", "2 b good", "1 a good"), 3, "a", False, 1),
        (("3 c good", "2 b good", "1 a good"), 3, "2", False, 2),
        (("3 c good", "2 b good", "1 a good"), 3, A, False, 1),
        (("3 c good", "2 b good", "1 a good"), 3, "v-b", False, 2),
        (("3 a good", "2 b undone", "1 a good"), 3, "b", False, 2),
        (("3 a good", "2 b failed", "1 a good"), 3, "b", False, None),
        (("3 c good", "2 b good", "1 a good"), 3, "unknown", False, None),
        (("3 c good", "2 b good", "1 a good"), 3, None, True, 3),
        (("3 c good", "2 b good", "1 a good"), 3, "b", True, 2),
    ],
)
def test_choose(
    facts: Any, lines: tuple[str, ...], last: int, to: str | None, recreate: bool, expected: int | None
) -> None:
    known = releases(lambda name: replace(facts(name), version=f"v-{name}"), *lines)
    good = next(one for one in known if one.number == last)
    chosen = rollback.choose(known, good, to, recreate=recreate)
    assert (chosen.number if chosen else None) == expected


def test_what_a_rollback_undoes(facts: Any) -> None:
    known = releases(facts, "6 a good", "5 d failed", "4 c good", "3 a good", "2 b good", "1 a good")
    assert rollback.undone_by(known, known[-1]) == [4, 2]


# What is said.


def event(
    resource: str, status: str, reason: str = "", kind: str = "AWS::ECS::Service", took: float | None = 2.0
) -> Event:
    return Event("1", datetime(2026, 1, 1, tzinfo=UTC), resource, kind, status, reason, "", took)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (event("Service", "UPDATE_COMPLETE"), "✓ Service  update complete  2.0 s"),
        (event("Service", "UPDATE_IN_PROGRESS"), ""),
        (event("Cluster", "UPDATE_COMPLETE"), ""),
        (event("Cluster", "UPDATE_FAILED", "no\nreally", took=None), "✗ Cluster  update failed  no"),
        (event("Cluster", "CREATE_FAILED", "Resource creation cancelled"), ""),
        (
            event("board", "UPDATE_ROLLBACK_IN_PROGRESS", kind="AWS::CloudFormation::Stack"),
            "update rollback in progress",
        ),
        (event("board", "UPDATE_IN_PROGRESS", kind="AWS::CloudFormation::Stack"), ""),
    ],
)
def test_line_of_an_event(what: Event, expected: str) -> None:
    assert progress.line_of(what, {"Service"}) == expected


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ({"exit": 0, "applied": ["a.1", "a.2"]}, "forward by b: applied a.1, a.2"),
        ({"exit": 0, "undone": ["a.2"], "applied": ["a.3"]}, "forward by b: undid a.2; applied a.3"),
        ({"exit": 0, "applied": list("vwxyz")}, "forward by b: applied 5 migrations, v to z"),
        ({"exit": 0}, "forward by b: nothing to do"),
        ({"exit": 0, "reason": "left as it is"}, "forward by b: left as it is"),
        ({"exit": 3}, "forward by b: another build must go first"),
        ({"exit": 75}, "forward by b: the database was busy"),
        ({"exit": None}, "forward by b: did not start"),
        ({"exit": 5}, "forward by b: exit status 5"),
    ],
)
def test_line_of_a_hop(hop: dict[str, Any], expected: str) -> None:
    whole = {"build": "b", "direction": "forward", "undone": [], "applied": [], "reason": ""} | hop
    assert progress.line_of_hop(whole) == expected


def test_the_functions_words_without_cloudformations_frame() -> None:
    framed = "Received response status [FAILED] from custom resource. Message returned: a.1: no\nlines (RequestId: 1-2)"
    assert progress.answer(framed) == "a.1: no\nlines"
    assert progress.answer("timed out") == "timed out"


def task(digest: str, stopped: str, code: int | None, reason: str = "") -> dict[str, Any]:
    container = {"name": "web", "image": f"r@{digest}", "exitCode": code}
    return {"taskArn": f"t/{stopped}", "stoppedAt": stopped, "stoppedReason": reason, "containers": [container]}


def test_the_newest_crash_of_the_build() -> None:
    tasks = [task(A, "1", 1, "Essential container exited"), task(A, "3", 143), task(A, "2", 3), task(B, "4", 1)]
    found = progress.newest_crash(tasks, A)
    assert found
    assert (found[0]["taskArn"], found[1]) == ("t/2", "its container ended with exit status 3")
    assert progress.newest_crash(tasks, "sha256:other") is None
    unstarted = progress.newest_crash([task(A, "1", None, "CannotPullContainerError")], A)
    assert unstarted
    assert unstarted[1] == "its container did not start (CannotPullContainerError)"


def test_history_as_a_table(facts: Any) -> None:
    known = [one.as_dict() for one in releases(facts, "2 b failed", "1 a good")]
    known[0]["cause"] = "the migration failed\nlast log lines"
    assert history.render_history(known) == (
        "release  state   kind    version  build  who  started              why\n"
        "───────  ──────  ──────  ───────  ─────  ───  ───────────────────  ────────────────────\n"
        "      2  failed  deploy  b        b      ada  2026-01-01 00:00:00  the migration failed\n"
        "      1  good    deploy  a        a      ada  2026-01-01 00:00:00"
    )
    assert history.render_history([]) == "no release yet"


def test_history_goes_on_before_the_oldest_shown(facts: Any) -> None:
    known = [{"environment": "staging"} | one.as_dict() for one in releases(facts, "3 b good", "2 a good")]
    more = "\nthose before: lastgood history --environment staging --before 2"
    assert history.render_history(known, 2).endswith(more)
    assert more not in history.render_history(known, 3)
    first = [{"environment": "staging"} | one.as_dict() for one in releases(facts, "1 a good")]
    assert more not in history.render_history(first, 1)


@pytest.mark.parametrize(("limit", "before", "name"), [(0, None, "--limit is 0"), (5, 0, "--before is 0")])
def test_history_of_a_senseless_number(account: Any, limit: int, before: int | None, name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: it must be at least 1$"):
        history.history(Place(account, account.folder), limit, before)


@pytest.mark.parametrize(
    ("stack", "digest", "expected"),
    [
        (None, None, "nothing deployed"),
        ("ROLLBACK_COMPLETE", None, "no good release yet"),
        ("UPDATE_COMPLETE", A, "as last good"),
        ("UPDATE_ROLLBACK_COMPLETE", A, "as last good"),
        ("UPDATE_ROLLBACK_FAILED", A, "the stack is UPDATE_ROLLBACK_FAILED"),
        (None, A, "there is no stack"),
    ],
)
def test_status_verdict(stack: str | None, digest: str | None, expected: str) -> None:
    running = (A,) if stack else ()
    found = verify.Facts(stack, A, running, Health(200, A, "in step"))
    assert status.verdict(found, digest) == expected
