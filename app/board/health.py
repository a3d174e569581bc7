"""Two questions that are asked of a build, and why they are two.

/livez    200 for as long as this process answers, whatever the database does: the load balancer asks it. Were the database in it, one that
          is away for a minute would have ECS replace every task, with tasks that would be replaced in their turn.
/healthz  is this build fit to answer, and which one is it? Deploys and people ask it:

    200  the database is `in step`, or `ahead`
    503  it is `behind` or `diverged`, or does not answer; `reason` says it

*Ahead* is healthy, because it is how every deploy looks to the old build: the database moves before the service. Outside an image, without
the package `migrator`, nobody knows what the database should look like: it is `unknown`, and that is healthy too.

What is `tampered` (applied from another file than this build has) or `interrupted` is listed, and left to people: new tasks would find the
same database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from board.build import RUNNING

LIVE = "/livez"
PATH = "/healthz"
LISTED = ("missing", "extra", "tampered", "interrupted")


class HealthMiddleware:
    """Answers both. It stands first: the load balancer asks by plain http and calls the task by its IP address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == LIVE:
            return live()
        return health() if request.path == PATH else self.get_response(request)


class NotHealth(logging.Filter):
    """Drops what Django logs about answers to /healthz: who asks reads the reason in the answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(getattr(record, "request", None), "path", None) != PATH


def live() -> HttpResponse:
    """Return the answer of a process that answers, made of nothing else."""
    return JsonResponse({"status": "ok", "digest": RUNNING.digest}, headers={"Cache-Control": "no-store"})


def health() -> HttpResponse:
    """Return the answer, made with a few small queries."""
    database = {name: [] for name in LISTED} | _database()
    reason = database.pop("reason", "")
    answer = {
        "status": "unavailable" if reason else "ok",
        **({"reason": reason} if reason else {}),
        "build": RUNNING.name,
        "commit": RUNNING.commit,
        "version": RUNNING.version,
        "digest": RUNNING.digest,
        **database,
    }
    return JsonResponse(answer, status=503 if reason else 200, headers={"Cache-Control": "no-store"})


def _database() -> dict[str, Any]:
    """Return how the database stands to this build, with a `reason` when that is not good enough to answer requests."""
    try:
        import migrator
        from migrator.errors import MigratorError
    except ImportError:
        return {"database": "unknown"}
    try:
        state = migrator.state(connection)
    except Error as error:
        # Its message names hosts and users, and anybody may ask.
        reason = f"the database does not answer ({type(error).__name__})"
        return {"database": "unreachable", "reason": reason}
    except MigratorError as error:
        return {"database": "unknown", "reason": str(error)}
    answer = {"database": state["state"], **{name: state[name] for name in LISTED}}
    if state["state"] not in ("in step", "ahead"):
        lacks = ", ".join(state["missing"])
        answer["reason"] = f"the database is {state['state']}: it lacks {lacks}"
    return answer
