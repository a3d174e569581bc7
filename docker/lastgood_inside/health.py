"""Two questions that are asked of a build, and why they are two.

/livez    200 for as long as this process answers, whatever the database does: the load balancer asks it. Were the database in it, one that
          is away for a minute would have ECS replace every task, with tasks that would be replaced in their turn.
/healthz  is this build fit to answer? 200 where its database is `in step`, or `ahead` of it, else 503.

*Ahead* is healthy, because it is how every deploy looks to the old build: the database moves before the service. What is `tampered`
(applied from another file than this build has) or `interrupted` is listed, and left to people: new tasks would find the same database.

Which build it is, and how its database stands, is told to those alone who know the stack that the task belongs to: the header HEADER holds
the sha256 of its id (LASTGOOD_STACK), which only who may look into the account knows. All others get the status.

A project whose URLs have a route of that very name answers there itself; not to the pipeline's question, which the header tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from .hook import PATHS

LIVE, READY = PATHS
HEADER = "Lastgood-Stack"
SECONDS = 4.0  # that the database may take; less than who asks waits for the answer
_LISTED = ("missing", "extra", "tampered", "interrupted")


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes] | None:
    """Return the answer to a request; None where it is the project's to answer."""
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    trusted = trusts(environ.get(f"HTTP_{HEADER.upper().replace('-', '_')}", ""))
    if not ours(path, method, trusted):
        return None
    status, body = answer(path, trusted)
    start_response({200: "200 OK", 503: "503 Service Unavailable"}[status], headers(body))
    return [body if method == "GET" else b""]


async def asgi(scope: dict[str, Any], send: Callable[[dict[str, Any]], Awaitable[None]]) -> bool:
    """Answer a request, and return whether it was ours to answer. The database is asked in a thread, so nobody else waits for it."""
    path, method, name = scope["path"], scope["method"], HEADER.lower().encode()
    trusted = trusts(next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), ""))
    if not ours(path, method, trusted):
        return False
    if path == LIVE:
        status, body = answer(path, trusted)
    else:
        import asyncio

        status, body = await asyncio.get_running_loop().run_in_executor(None, answer, path, trusted)
    named = [(key.lower().encode(), value.encode()) for key, value in headers(body)]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body if method == "GET" else b""})
    return True


def headers(body: bytes) -> list[tuple[str, str]]:
    """Return the headers of an answer."""
    return [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]


def token() -> str:
    """Return what the pipeline sends; empty where this is no task of a stack."""
    stack = os.environ.get("LASTGOOD_STACK", "")
    return hashlib.sha256(stack.encode()).hexdigest() if stack else ""


def trusts(given: str) -> bool:
    """Whether the header says that it is the pipeline that asks."""
    wanted = token()
    return bool(given and wanted) and hmac.compare_digest(given.encode(), wanted.encode())


_known: dict[str, bool] = {}


def ours(path: str, method: str, trusted: bool) -> bool:
    """Whether a request is not the project's: a reading one, of the pipeline or for what the project has no route of that name for."""
    if method not in ("GET", "HEAD"):
        return False
    if trusted and path == READY:
        return True
    if path not in _known:
        _known[path] = has_route(path)
    return not _known[path]


def has_route(path: str) -> bool:
    """Whether the project's URLs name that very path. A pattern that takes whatever comes does not, nor do URLs that do not import."""
    from django.urls import resolve

    try:
        route = str(resolve(path).route)
    except Exception:  # Resolver404, or whatever the project's modules raise: then the project answers nothing there
        return False
    return re.sub(r"\^|\$|\\[ZzA]|/\??", "", route) == path.strip("/")


def answer(path: str, trusted: bool) -> tuple[int, bytes]:
    """Return HTTP's status, and a JSON document."""
    if path == LIVE:
        return 200, b'{"status": "ok"}'
    facts = details()
    status = 200 if facts["status"] == "ok" else 503
    return status, json.dumps(facts if trusted else {"status": facts["status"]}).encode()


def details() -> dict[str, Any]:
    """Return which build this is, and how its database stands; with a `reason` where that is not good enough to answer requests."""
    database: dict[str, Any] = {name: [] for name in _LISTED} | _database()
    reason = database.pop("reason", "")
    return {
        "status": "unavailable" if reason else "ok",
        **({"reason": reason} if reason else {}),
        **build(),
        **site(),
        **database,
    }


def site() -> dict[str, Any]:
    """Return what the project's pages must be asked by: the names that it takes for its own, and where its static files lie."""
    from django.conf import settings

    hosts = list(settings.ALLOWED_HOSTS) or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    return {"hosts": hosts, "static": settings.STATIC_URL}


def build() -> dict[str, str]:
    """Return what names this build. It is baked in with the manifest; its digest, which no image contains, is the task definition's."""
    facts: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # the database's state says it, where that is asked for
        facts = json.loads(Path(os.environ.get("LASTGOOD_MANIFEST", "")).read_text(encoding="utf-8"))
    named = {
        name: str(facts.get(name) or os.environ.get(f"LASTGOOD_{name.upper()}", "")) for name in ("build", "commit")
    }
    return {**named, "digest": os.environ.get("LASTGOOD_DIGEST", "")}


class _Question:
    """One question to the database, in a thread of its own: whoever asks while it is under way waits for the same answer.

    So a database that hangs holds one thread and one connection of a process, however many ask, and an answer comes all the same.
    """

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.found: dict[str, Any] = {}
        threading.Thread(target=self._ask, name="lastgood-health", daemon=True).start()

    def _ask(self) -> None:
        try:
            self.found = _state()
        finally:
            self.answered.set()


_lock = threading.Lock()
_asked: _Question | None = None


def _database() -> dict[str, Any]:
    """Return how the database stands to this build."""
    global _asked
    with _lock:
        if _asked is None or _asked.answered.is_set():
            _asked = _Question()
        question = _asked
    if question.answered.wait(SECONDS) and question.found:
        return question.found
    return {"database": "unreachable", "reason": f"the database does not answer within {SECONDS:.0f} seconds"}


def _state() -> dict[str, Any]:
    """Ask it, by a connection of this thread's own."""
    try:
        import migrator
        from migrator.errors import MigratorError
    except ImportError:  # outside of an image nobody knows what the database should look like
        return {"database": "unknown"}
    from django.db import connection

    try:
        state = migrator.state(connection)
    except MigratorError as error:
        return {"database": "unknown", "reason": str(error)}
    except Exception as error:  # of the driver, or of the settings
        # Its message names hosts and users.
        return {"database": "unreachable", "reason": f"the database does not answer ({type(error).__name__})"}
    finally:
        connection.close()
    found = {"database": state["state"], **{name: state[name] for name in _LISTED}}
    if state["state"] not in ("in step", "ahead"):
        found["reason"] = f"the database is {state['state']}: it lacks {', '.join(state['missing'])}"
    return found
